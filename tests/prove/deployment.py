"""`make up` on a fresh clone, again on the running VM, check mode on a bare host, and the latency of a question."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import time
from pathlib import Path

from tests.prove.clone import fresh_clone, timed
from tests.prove.scorecard import Figure

QUESTIONS = 200
WARM_UP = 20


def measure() -> list[Figure]:
    """All in one lab of its own, which is destroyed at the end."""
    with fresh_clone() as (clone, environment):
        try:
            cold, _ = timed(["make", "up"], clone, environment)
            again, said = timed(["make", "up"], clone, environment)
            changed = [int(number) for number in re.findall(r"changed=(\d+)", said)]
            p50, p95 = _latency(clone, environment)
            check = _check_on_bare_host(clone, environment)
        finally:
            subprocess.run(["make", "down"], cwd=clone, env=environment, check=True)
    return [
        Figure("`make up`, fresh clone, nothing cached", "≤ 6 min", f"{cold / 60:.1f} min", cold <= 360),
        Figure("`make up` again on the running VM", "≤ 60 s", f"{again:.0f} s", again <= 60),
        Figure(
            "changes of that second run", "changed=0", f"changed={sum(changed)}", sum(changed) == 0 and bool(changed)
        ),
        Figure("`site.yml --check --diff` on a bare host", "succeeds", f"succeeds in {check:.0f} s", True),
        Figure("a question over HTTPS, extractive, no cache, 1 client, p95", "≤ 60 ms", f"{p95:.0f} ms", p95 <= 60),
        Figure("the same, median", "-", f"{p50:.0f} ms", True),
    ]


def _latency(clone: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Milliseconds at the client, over one kept connection, of the sample corpus's own headings as questions."""
    program = f"""
import json, ssl, sys, time, httpx
from lab.lab import Lab
from lab.up import service
at = service(Lab("{environment["ANCHORAGE_LAB"]}"))
context = ssl.create_default_context(cafile=str(at.ca_file))
headers = {{"Authorization": f"Bearer {{at.api_key}}"}}
client = httpx.Client(base_url=at.url, headers=headers, verify=context, timeout=30)
seen = []
for number in range({QUESTIONS + WARM_UP}):
    body = {{"query": f"How do I set parameter number {{number}} of the server?", "use_cache": False}}
    start = time.perf_counter()
    client.post("/api/v1/query", json=body).raise_for_status()
    seen.append((time.perf_counter() - start) * 1000)
print(json.dumps(seen[{WARM_UP}:]))
"""
    command = [str(clone / ".venv/bin/python"), "-c", program]
    milliseconds = json.loads(subprocess.check_output(command, cwd=clone, env=environment))
    return statistics.median(milliseconds), statistics.quantiles(milliseconds, n=20)[18]


def _check_on_bare_host(clone: Path, environment: dict[str, str]) -> float:
    bare = {**environment, "ANCHORAGE_LAB": "prove-bare", "PATH": f"{clone}/.venv/bin:{os.environ['PATH']}"}
    program = "from lab.lab import Lab; from lab.up import bring_up; bring_up(Lab('prove-bare'))"
    try:
        timed([str(clone / ".venv/bin/python"), "-c", program], clone, bare)
        start = time.monotonic()
        timed(["ansible-playbook", "-i", "inventories/lab", "site.yml", "--check", "--diff"], clone, bare)
        return time.monotonic() - start
    finally:
        subprocess.run(["make", "down"], cwd=clone, env=bare, check=True)
