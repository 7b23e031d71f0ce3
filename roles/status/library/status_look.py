#!/usr/bin/python
"""One look at a host: what runs, what fills up, what ends soon, what the service says of itself."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

DOCUMENTATION = """
module: status_look
short_description: One look at a host
description: Reads and changes nothing; each row says what was looked at, how it is (good, warn, bad) and why.
options:
  units: {type: list, elements: str, required: true, description: "Units that must run, or patterns of their names."}
  certificates: {type: list, elements: str, default: [], description: "Certificates, as patterns of paths."}
  metrics: {type: path, required: true, description: "Folder of the files that timers leave for the node exporter."}
  ages: {type: dict, default: {}, description: "The most hours since what such a metric has as its time."}
  doctor: {type: bool, default: false, description: Whether the service is asked about itself.}
  alerts_url: {type: str, default: "", description: "Alertmanager; empty: not asked."}
author: Anchorage
"""
GOOD, WARN, BAD = "good", "warn", "bad"
DOCTORS_WORDS = {"ok": GOOD, "warning": WARN, "failed": BAD}
DISK_WARN, DISK_BAD = 85, 95
MEMORY_WARN, MEMORY_BAD = 85, 95
CERTIFICATE_WARN_DAYS, CERTIFICATE_BAD_DAYS = 21, 7
# Answers 0 to a command line and what it printed.
Run = Callable[..., tuple[int, str, str]]
Row = dict[str, str]


def row(what: str, state: str, detail: str) -> Row:
    """One line of the screen."""
    return {"what": what, "state": state, "detail": detail}


def graded(value: float, warn: float, bad: float) -> str:
    """State of something of which more is worse."""
    return BAD if value >= bad else WARN if value >= warn else GOOD


def units(run: Run, wanted: list[str]) -> Iterator[Row]:
    """Each wanted unit, and every other one that failed."""
    listing = ["systemctl", "list-units", "--plain", "--no-legend"]
    names = []
    for pattern in wanted:
        _, told, _ = run([*listing, "--all", pattern])
        names += [line.split()[0] for line in told.splitlines() if line.strip()] or [pattern]
    for unit in names:
        _, told, _ = run(["systemctl", "show", "--property=ActiveState,SubState,NRestarts", unit])
        shown = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
        active = shown.get("ActiveState", "unknown")
        restarts = int(shown.get("NRestarts") or 0)
        detail = f"{active} ({shown.get('SubState', '?')})" + (f", {restarts} restarts" if restarts else "")
        yield row(unit.removesuffix(".service"), GOOD if active == "active" else BAD, detail)
    _, told, _ = run([*listing, "--failed"])
    for unit in (line.split()[0] for line in told.splitlines() if line.strip()):
        if unit not in names:
            yield row(unit, BAD, f"failed: systemctl status {unit}")


def disks() -> Iterator[Row]:
    """Each file system on a disk, by what is used of it."""
    seen = set()
    with open("/proc/mounts", encoding="utf-8") as mounts:
        points = [line.split()[1] for line in mounts if line.split()[2] in ("ext4", "xfs", "btrfs", "overlay")]
    for point in sorted(points, key=len):
        device = os.stat(point).st_dev
        if device in seen or not os.path.isdir(point):
            continue
        seen.add(device)
        usage = shutil.disk_usage(point)
        used = 100 * usage.used / (usage.used + usage.free)
        yield row(
            f"disk {point}", graded(used, DISK_WARN, DISK_BAD), f"{used:.0f} %, {usage.free / 2**30:.1f} GiB free"
        )


def memory() -> Row:
    """What is used and could not be given back."""
    with open("/proc/meminfo", encoding="utf-8") as file:
        found = {line.split(":")[0]: int(line.split()[1]) for line in file}
    used = 100 - 100 * found["MemAvailable"] / found["MemTotal"]
    return row("memory", graded(used, MEMORY_WARN, MEMORY_BAD), f"{used:.0f} % of {found['MemTotal'] / 2**20:.1f} GiB")


def certificates(run: Run, patterns: list[str], now: float) -> Iterator[Row]:
    """How many days each is still good for."""
    for path in sorted({path for pattern in patterns for path in glob.glob(pattern)}):
        failed, told, _ = run(["openssl", "x509", "-in", path, "-noout", "-enddate", "-dateopt", "iso_8601"])
        if failed:
            yield row(f"certificate {path}", BAD, "can't be read")
            continue
        end = datetime.strptime(told.strip(), "notAfter=%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC)
        days = (end.timestamp() - now) / 86400
        state = BAD if days < CERTIFICATE_BAD_DAYS else WARN if days < CERTIFICATE_WARN_DAYS else GOOD
        yield row(f"certificate {os.path.basename(path)}", state, f"{days:.0f} days left")


def ages(folder: str, most_hours: dict[str, Any], now: float) -> Iterator[Row]:
    """What timers do, by the times in the files that they leave; a file that is not there says nothing."""
    for path in sorted(glob.glob(f"{folder}/*.prom")):
        with open(path, encoding="utf-8") as file:
            found = re.findall(r"^(\w+)(\{[^}]*\})? ([0-9.e+]+)$", file.read(), re.MULTILINE)
        for name, labels, value in found:
            if name in most_hours:
                hours = (now - float(value)) / 3600
                what = name.removeprefix("anchorage_").removesuffix("_timestamp_seconds").replace("_", " ")
                yield row(
                    f"{what}{labels}",
                    graded(hours, float(most_hours[name]), float(most_hours[name])),
                    f"{hours:.1f} h ago",
                )


def doctor(run: Run) -> Iterator[Row]:
    """What the service finds of its own dependencies."""
    _, told, problem = run(["anchorage", "doctor", "--json"])
    try:
        findings = json.loads(told.splitlines()[-1])["findings"]
    except (IndexError, KeyError, ValueError):
        yield row("anchorage doctor", BAD, (problem or told).strip()[-200:] or "said nothing")
        return
    for found in findings:
        detail = "; ".join(filter(None, (found["detail"], found["cure"])))
        yield row(f"service: {found['name']}", DOCTORS_WORDS[found["state"]], detail)


def alerts(url: str) -> Iterator[Row]:
    """What Alertmanager holds that nobody has silenced."""
    try:
        asked = f"{url}/api/v2/alerts?active=true&silenced=false&inhibited=false"
        firing = json.load(open_url(asked, timeout=10, use_proxy=False))
    except (OSError, ValueError) as error:
        yield row("alerts", BAD, f"Alertmanager does not answer at {url}: {error}")
        return
    told = [alert for alert in firing if alert["labels"].get("severity") in ("page", "warn")]
    if not told:
        yield row("alerts", GOOD, "none")
    for alert in told:
        state = BAD if alert["labels"]["severity"] == "page" else WARN
        yield row(f"alert {alert['labels'].get('alertname')}", state, alert["annotations"].get("summary", ""))


def reboot() -> Iterator[Row]:
    """Whether an upgrade waits for one."""
    if os.path.exists("/run/reboot-required"):
        yield row("reboot", WARN, "an upgrade waits for one")


def main() -> None:
    """Print the rows."""
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "required": True},
            "certificates": {"type": "list", "elements": "str", "default": []},
            "metrics": {"type": "path", "required": True},
            "ages": {"type": "dict", "default": {}},
            "doctor": {"type": "bool", "default": False},
            "alerts_url": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given, now = module.params, time.time()
    rows = [
        *units(module.run_command, given["units"]),
        *disks(),
        memory(),
        *reboot(),
        *certificates(module.run_command, given["certificates"], now),
        *ages(given["metrics"], given["ages"], now),
        *(doctor(module.run_command) if given["doctor"] else ()),
        *(alerts(given["alerts_url"]) if given["alerts_url"] else ()),
    ]
    module.exit_json(changed=False, rows=rows)


if __name__ == "__main__":
    main()
