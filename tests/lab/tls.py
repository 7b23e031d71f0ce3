"""What testssl.sh, run on another host of the same lab, thinks of a host's TLS."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from lab.host import Host

ABOVE_LOW = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")
# A rating needs all of them; what is left out only tries on how clients of the day would connect.
CHECKS = ("-p", "-s", "-f", "-P", "-S", "-h", "-U")
REPORT = "/root/testssl.json"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The overall grade (`A+` is the best), and what was found above severity LOW, by testssl's id."""

    grade: str
    findings: dict[str, str]


def install(neighbour: Host) -> None:
    """Debian's testssl.sh; only a lab host ever runs it, against hosts of its own lab."""
    script = "apt-get -qq update && apt-get -qq install --no-install-recommends testssl.sh >/dev/null"
    neighbour.execute("sh", "-ec", f"command -v testssl >/dev/null || {{ {script}; }}", root=True)


def rate(neighbour: Host, address: str, name: str, root: str) -> Verdict:
    """Rate HTTPS at ``address`` under ``name``, trusting the authority ``root`` (PEM) beside those of the system.

    The rating is computed by testssl itself; nothing leaves the lab.
    """
    script = (
        f"printf %s {shlex.quote(root)} > /root/root.pem; rm -f {REPORT}; "
        f"testssl --quiet --color 0 --warnings off {' '.join(CHECKS)} --add-ca /root/root.pem --jsonfile {REPORT} "
        f"--ip {address} https://{name} > /root/testssl.txt || [ -s {REPORT} ]; cat {REPORT}"
    )
    found = json.loads(neighbour.execute("sh", "-ec", script, root=True))
    grades = [entry["finding"] for entry in found if entry["id"] == "overall_grade"]
    findings = {entry["id"]: entry["finding"] for entry in found if entry["severity"] in ABOVE_LOW}
    return Verdict(grades[0] if grades else "none", findings)
