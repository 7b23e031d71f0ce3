"""The lab's verbs: `python -m lab VERB`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from lab.host import Host
from lab.image import RELEASES, USER, image
from lab.inventory import ansible_inventory
from lab.lab import Lab, all_labs, for_each_lab
from lab.system import LabError, reasons_against, require, ssh_options


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; an expected failure is one line on standard error and status 1."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.action(options) or 0)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="Real systemd hosts on this machine.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, text: str, action: object, *names: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        for positional in names:
            sub.add_argument(positional)
        sub.set_defaults(action=action)
        return sub

    verb("image", "build the tree of a release", lambda o: _say(str(_image(o.release)))).add_argument(
        "release", choices=RELEASES
    )
    verb("up", "create and boot hosts", _up, "lab").add_argument(
        "hosts", nargs="+", metavar="NAME[:RELEASE[:SNAPSHOT]]", help="release is trixie unless named"
    )
    down = verb("down", "destroy a lab, or --all", _down)
    down.add_argument("lab", nargs="?")
    down.add_argument("--all", action="store_true")
    verb("ls", "list labs and hosts", _ls)
    verb("start", "boot a host that is off", lambda o: _do(Lab(o.lab).start(o.host)), "lab", "host")
    verb("stop", "power a host off", lambda o: Lab(o.lab).host(o.host).stop(), "lab", "host")
    verb("kill", "cut a host's power", lambda o: Lab(o.lab).host(o.host).kill(), "lab", "host")
    verb("reboot", "reboot a host", lambda o: Lab(o.lab).host(o.host).reboot(), "lab", "host")
    verb("cut", "cut a host off the network", lambda o: Lab(o.lab).host(o.host).cut(), "lab", "host")
    verb("heal", "connect it again", lambda o: Lab(o.lab).host(o.host).heal(), "lab", "host")
    verb("snapshot", "keep a host's disk", lambda o: Lab(o.lab).snapshot(o.host, o.name), "lab", "host", "name")
    verb("restore", "return to a snapshot", lambda o: Lab(o.lab).restore(o.host, o.name), "lab", "host", "name")
    verb("exec", "run a command on a host as root", _exec, "lab", "host").add_argument(
        "command", nargs=argparse.REMAINDER
    )
    verb("ssh", "log in to a host", _ssh, "lab", "host")
    verb("directory", "print where a lab keeps its state", lambda o: _say(str(Lab(o.lab).directory)), "lab")
    inventory = verb("inventory", "print how to reach the hosts, as JSON", _inventory, "lab")
    inventory.add_argument("--ansible", action="store_true", help="in the form of an Ansible inventory")
    verb("doctor", "can a lab run here?", _doctor)
    return parser


def _say(text: str) -> None:
    print(text)  # noqa: T201


def _do(host: Host) -> None:
    _say(f"{host.name} {host.address}")


def _image(release: str) -> object:
    require()
    return image(release)


def _up(options: argparse.Namespace) -> None:
    wanted, snapshots = [], {}
    for text in options.hosts:
        name, release, snapshot = (*text.split(":"), "", "")[:3]
        wanted.append((name, release or "trixie"))
        if snapshot:
            snapshots[name] = snapshot
    start = time.monotonic()
    for host in Lab(options.lab).up(wanted, snapshots):
        _do(host)
    print(f"up in {time.monotonic() - start:.1f} s", file=sys.stderr)  # noqa: T201


def _down(options: argparse.Namespace) -> None:
    if options.all == bool(options.lab):
        raise LabError("name one lab, or --all")
    if options.all:
        for_each_lab(Lab.down)
    else:
        Lab(options.lab).down()


def _ls(_: argparse.Namespace) -> None:
    for lab in all_labs():
        for host in lab.hosts if lab.exists else []:
            state = "on" if host.alive else "off"
            _say(f"{lab.name:16} {host.name:12} {host.record.release:9} {host.address:13} {state}")


def _exec(options: argparse.Namespace) -> None:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    sys.stdout.write(Lab(options.lab).host(options.host).execute(*command, root=True))


def _ssh(options: argparse.Namespace) -> None:
    host = Lab(options.lab).host(options.host)
    os.execvp("ssh", ["ssh", *ssh_options(host.identity), f"{USER}@{host.address}"])  # noqa: S606, S607


def _inventory(options: argparse.Namespace) -> None:
    lab = Lab(options.lab)
    _say(json.dumps(ansible_inventory(lab) if options.ansible else lab.inventory(), indent=2))


def _doctor(_: argparse.Namespace) -> int:
    reasons = reasons_against()
    for reason in reasons:
        _say(reason)
    if not reasons:
        _say("A lab can run here.")
    return 1 if reasons else 0
