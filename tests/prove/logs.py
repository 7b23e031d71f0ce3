"""The journals of all hosts in one place: the monitoring host away for ten minutes, under load."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from collections import Counter

from lab.host import Host
from lab.lab import Lab
from lab.up import put_artifacts, service
from tests.lab.load import RATE_PER_S, ConstantLoad, Report
from tests.lab.stack.conftest import play
from tests.prove.scorecard import Figure

AWAY_S = 600
CATCH_UP_S = 300
SERVICE, WATCH = "service", "watch"
# One of the journal, however it came: its host's boot and clock, and what was said.
Line = tuple[str, str, str, str]


def measure() -> list[Figure]:
    """In a lab of its own: the service on one host, the monitoring on another."""
    lab = Lab("prove-logs")
    lab.down()
    try:
        lab.up([(SERVICE, "trixie"), (WATCH, "trixie")])
        put_artifacts(lab)
        done = play(lab, "site.yml")
        if done.returncode != 0:
            raise RuntimeError(f"site.yml failed:\n{done.stdout[-6000:]}")
        report, written, arrived, caught_up_s = _away(lab)
    finally:
        lab.down()
    lost = written - arrived
    asked = f"{report.sent} questions asked, {report.failures.total()} failed"
    what = f"the monitoring host away for {AWAY_S // 60} min under {RATE_PER_S:g} questions/s: lines lost"
    return [
        Figure(what, "0", f"{lost.total()} of {written.total()} ({asked})", not lost and not report.failures),
        Figure("lines that came twice", "-", str((arrived - written).total()), True),
        Figure("all of them there, after it was back", "-", f"{caught_up_s:.0f} s", True),
    ]


def _away(lab: Lab) -> tuple[Report, Counter[Line], Counter[Line], float]:
    """The load's report, the lines that the service's host wrote, those that arrived, and how long that took."""
    at, watch = service(lab, SERVICE), lab.host(WATCH)
    load = ConstantLoad(
        f"{at.url}/api/v1/query",
        context=ssl.create_default_context(cafile=str(at.ca_file)),
        method="POST",
        headers={"Authorization": f"Bearer {at.api_key}"},
        json={"query": "What is this service?", "use_cache": False},
    )
    begin = time.time()
    with load:
        time.sleep(30)
        watch.cut()
        time.sleep(AWAY_S)
        watch.heal()
        back = time.monotonic()
    end = time.time()
    written = _lines(lab.host(SERVICE), begin, end)
    while True:
        arrived = _lines(watch, begin, end, "--directory=/var/log/journal/remote")
        if not written - arrived or time.monotonic() - back > CATCH_UP_S:
            return load.report, written, arrived, time.monotonic() - back
        time.sleep(5)


def _lines(host: Host, begin: float, end: float, *where: str) -> Counter[Line]:
    """The journal's entries of that time (seconds since 1970)."""
    fields = "_BOOT_ID,_PID,SYSLOG_IDENTIFIER,MESSAGE"
    asked = [
        "journalctl",
        *where,
        f"--since=@{begin:.0f}",
        f"--until=@{end:.0f}",
        "-o",
        "json",
        f"--output-fields={fields}",
    ]
    command = host.ssh_command(*asked, "--quiet", root=True)
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    entries = (json.loads(line) for line in told.splitlines())
    return Counter(
        (entry["_BOOT_ID"], entry["__REALTIME_TIMESTAMP"], str(entry.get("_PID")), str(entry.get("MESSAGE")))
        for entry in entries
    )
