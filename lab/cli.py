"""The lab's verbs: `python -m lab VERB`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab.doctor import warnings
from lab.host import Host
from lab.image import RELEASES, image
from lab.inventory import ansible_inventory
from lab.lab import HostSpec, Lab, all_labs, destroy_all, prune_images
from lab.system import LabError, announce, obstacles, require

Action = Callable[[argparse.Namespace], int | None]


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; an expected failure is one line on standard error and status 1."""
    options = _parser().parse_args(arguments)
    try:
        reasons = obstacles() if options.needs_root else []
        if reasons:
            raise LabError(" ".join(reasons))
        return int(options.action(options) or 0)
    except LabError as error:
        announce(f"lab: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="Real systemd hosts on this machine.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, text: str, action: Action, *names: str, needs_root: bool = True) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        for positional in names:
            sub.add_argument(positional)
        sub.set_defaults(action=action, needs_root=needs_root)
        return sub

    verb("image", "build the tree of a release", _image).add_argument("release", choices=RELEASES)
    verb("prune", "delete images that no host stands on", _prune)
    verb("up", "create and boot hosts", _up, "lab").add_argument(
        "hosts", nargs="+", metavar="NAME[:RELEASE[:SNAPSHOT]]", help="release is trixie unless named"
    )
    down = verb("down", "destroy a lab, or --all", _down)
    down.add_argument("lab", nargs="?")
    down.add_argument("--all", action="store_true")
    down.add_argument("--journals", type=Path, metavar="DIRECTORY", help="keep the hosts' journals there")
    verb("ls", "list labs and hosts", _ls, needs_root=False)
    verb("start", "boot a host that is off", lambda o: _show(Lab(o.lab).start(o.host)), "lab", "host")
    verb("stop", "power a host off", lambda o: _host(o).stop(), "lab", "host")
    verb("kill", "cut a host's power", lambda o: _host(o).kill(), "lab", "host")
    verb("reboot", "reboot a host", lambda o: _host(o).reboot(), "lab", "host")
    verb("cut", "cut a host off the network", lambda o: _host(o).cut(), "lab", "host")
    verb("heal", "connect it again", lambda o: _host(o).heal(), "lab", "host")
    verb("snapshot", "keep a host's disk", lambda o: Lab(o.lab).snapshot(o.host, o.name), "lab", "host", "name")
    verb("restore", "return to a snapshot", lambda o: Lab(o.lab).restore(o.host, o.name), "lab", "host", "name")
    verb("exec", "run a command on a host as root", _exec, "lab", "host").add_argument(
        "command", nargs=argparse.REMAINDER
    )
    verb("ssh", "log in to a host", _ssh, "lab", "host")
    journal = verb("journal", "print the end of a host's journal, also when it is off", _journal, "lab", "host")
    journal.add_argument("-n", "--lines", type=int, default=1000)
    verb(
        "directory", "print where a lab keeps its state", lambda o: _say(Lab(o.lab).directory), "lab", needs_root=False
    )
    inventory = verb("inventory", "print how to reach the hosts, as JSON", _inventory, "lab", needs_root=False)
    inventory.add_argument("--ansible", action="store_true", help="in the form of an Ansible inventory")
    verb("doctor", "can a lab run here?", _doctor, needs_root=False)
    return parser


def _say(text: object) -> None:
    print(text)  # noqa: T201


def _show(host: Host) -> None:
    _say(f"{host.name} {host.address}")


def _host(options: argparse.Namespace) -> Host:
    return Lab(options.lab).host(options.host)


def _image(options: argparse.Namespace) -> None:
    require()
    _say(image(options.release))


def _prune(_: argparse.Namespace) -> None:
    for path in prune_images():
        _say(path)


def _up(options: argparse.Namespace) -> None:
    start = time.monotonic()
    for host in Lab(options.lab).up([_spec(text) for text in options.hosts]):
        _show(host)
    announce(f"up in {time.monotonic() - start:.1f} s")


def _spec(text: str) -> HostSpec:
    name, *rest = text.split(":")
    if len(rest) > 2:
        raise LabError(f"{text!r} is not NAME[:RELEASE[:SNAPSHOT]]")
    release, snapshot = (*rest, "", "")[:2]
    return HostSpec(name, release or "trixie", snapshot)


def _down(options: argparse.Namespace) -> None:
    if options.all == bool(options.lab):
        raise LabError("name one lab, or --all")
    for lab in all_labs() if options.all else [Lab(options.lab)]:
        if options.journals and lab.exists:
            lab.save_journals(options.journals)
    if options.all:
        destroy_all()
    else:
        Lab(options.lab).down()


def _ls(_: argparse.Namespace) -> None:
    for lab in all_labs():
        for host in lab.hosts if lab.exists else []:
            state = "on" if host.alive else "off"
            _say(f"{lab.name:16} {host.name:12} {host.record.release:9} {host.address:13} {state}")


def _exec(options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise LabError("say which command: exec LAB HOST -- COMMAND...")
    return subprocess.run(_host(options).ssh_command(*command, root=True), check=False).returncode  # noqa: S603


def _ssh(options: argparse.Namespace) -> None:
    os.execvp("ssh", _host(options).ssh_command())  # noqa: S606, S607


def _journal(options: argparse.Namespace) -> None:
    sys.stdout.write(_host(options).journal(options.lines))


def _inventory(options: argparse.Namespace) -> None:
    lab = Lab(options.lab)
    _say(json.dumps(ansible_inventory(lab) if options.ansible else lab.inventory(), indent=2))


def _doctor(_: argparse.Namespace) -> int:
    reasons = obstacles()
    for line in reasons or warnings():
        _say(line)
    if not reasons:
        _say("A lab can run here.")
    return 1 if reasons else 0
