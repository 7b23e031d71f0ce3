"""Causes a fault on a lab host and waits until somebody is told."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.host import Host
from lab.lab import Lab
from lab.system import LabError
from lab.up import HOST, ROOT
from tests.lab.alerts.faults import FAULTS

HERE = Path(__file__).parent
PORT, TOLD = 9999, "/run/told.jsonl"
PLAY = "tests/lab/alerts/play.yml"
# As long as somebody may wait for it at most before the test gives up.
PATIENCE_S = 180.0
QUESTION = json.dumps({"query": "Why?", "provider": "extractive", "use_cache": False})
ASKING = f"""
key=$(cat /etc/anchorage/credentials/monitoring_api_key)
while :; do
  curl -sk -o /dev/null -m 5 -H "Authorization: Bearer $key" -H 'Content-Type: application/json' -d '{QUESTION}' \\
    "https://$1/api/v1/query"
  sleep 1
done
"""


class Told:
    """What the receiver on the host was told: alerts, each with the time at which it arrived."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def ask(self, command: str) -> str:
        return self._host.execute("sh", "-c", command, root=True)

    def alerts(self) -> list[dict[str, Any]]:
        requests = [json.loads(line) for line in self.ask(f"cat {TOLD} 2>/dev/null || true").splitlines()]
        return [{"at": request["at"], **alert} for request in requests for alert in request["body"]["alerts"]]

    def wait(self, alert: str, status: str, since: float, patience_s: float = PATIENCE_S) -> float:
        """When it was told, on the clock that the host shares; LabError when it was not."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            for one in self.alerts():
                if one["labels"]["alertname"] == alert and one["status"] == status and one["at"] >= since:
                    return float(one["at"])
            time.sleep(1)
        heard = sorted({(one["labels"]["alertname"], one["status"]) for one in self.alerts()})
        raise LabError(f"nobody was told within {patience_s:.0f} s that {alert} is {status}; they were of {heard}")


@contextmanager
def receiver(lab: Lab) -> Iterator[Told]:
    """Alertmanager tells a server on the lab's host, for as long as this lasts."""
    told = Told(lab.host(HOST))
    program = shlex.quote((HERE / "receiver.py").read_text())
    told.ask(f"printf %s {program} > /root/receiver.py; rm -f {TOLD}")
    # One that a run that was killed has left.
    told.ask("systemctl stop receiver 2>/dev/null || true")
    told.ask(f"systemd-run --quiet --unit=receiver python3 /root/receiver.py {PORT} {TOLD}")
    at = f"http://127.0.0.1:{PORT}"
    try:
        _play(lab, {"urls": [f"{at}/people"], "switch": f"{at}/switch"})
        yield told
    finally:
        _play(lab, {})
        told.ask(f"systemctl stop receiver; rm -f /root/receiver.py {TOLD}")


def seconds_to_page(lab: Lab, told: Told, alert: str) -> float:
    """From the fault to the alert at the receiver; the fault is undone, and that it is over was told too."""
    fault = FAULTS[alert]
    if fault.load:
        told.ask(f"systemd-run --quiet --unit=asking sh -c {shlex.quote(ASKING)} sh {lab.host(HOST).address}")
    begun = time.time()
    try:
        told.ask(fault.cause)
        return told.wait(alert, "firing", begun) - begun
    finally:
        told.ask(fault.undo)
        if fault.load:
            told.ask("systemctl stop asking")
        told.wait(alert, "resolved", begun)


def _play(lab: Lab, variables: dict[str, Any]) -> None:
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventories/lab", PLAY]
    environment = {
        **os.environ,
        "ANCHORAGE_LAB": lab.name,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    words = [*command, "-e", json.dumps(variables)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{PLAY} failed:\n{done.stdout[-3000:]}{done.stderr}")
