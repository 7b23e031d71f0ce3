"""Lines of two hosts (Debian 13 and 12) at the third: whole, from known hosts only, and none is lost on the way."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable

import pytest
import testinfra  # type: ignore[import-untyped]
from testinfra.host import Host  # type: ignore[import-untyped]

from lab.host import Host as Machine
from lab.lab import Lab
from tests.hardening import breaches, exposures

COLLECTED = "/var/log/journal/remote"
SENDERS = ["ansible://sender13", "ansible://sender12"]
senders = pytest.mark.parametrize("host", SENDERS, indirect=True)


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Host:
    return connect(request.param)


@pytest.fixture
def collector() -> Host:
    return connect("ansible://collector")


@pytest.fixture
def machine() -> Machine:
    """The collector, as the lab holds it."""
    return Lab("mol-logs").host("collector")


def connect(name: str) -> Host:
    return testinfra.get_host(name, ansible_inventory=os.environ["MOLECULE_INVENTORY_FILE"], sudo=True)


def write(host: Host, marker: str, count: int) -> None:
    """That many numbered lines, as a service writes them."""
    host.check_output(f"seq -f '{marker} %.0f' {count} | systemd-cat -t sample --priority=info")


def arrived(collector: Host, marker: str) -> list[int]:
    """The numbers that came, in the order of the journal."""
    found = collector.run(f"journalctl -D {COLLECTED} -t sample --grep='^{marker} ' -o cat -q")
    return [int(line.split()[1]) for line in found.stdout.splitlines()]


def soon(there: Callable[[], bool], within_s: float = 60) -> None:
    begin = time.monotonic()
    while not there():
        assert time.monotonic() - begin < within_s, "not within the time"
        time.sleep(1)


@senders
def test_a_line_arrives_whole_with_its_host(host: Host, collector: Host) -> None:
    line = json.dumps({"request_id": uuid.uuid4().hex, "message": "Ä" * 10_000}, ensure_ascii=False)
    host.check_output("printf '%s\\n' '" + line + "' | systemd-cat -t whole")
    name = host.check_output("hostname")

    def found() -> list[str]:
        asked = f"journalctl -D {COLLECTED} -t whole _HOSTNAME={name} -o cat -q"
        return [said for said in collector.run(asked).stdout.splitlines() if said == line]

    soon(lambda: found() == [line])


@senders
def test_nothing_is_lost_while_the_receiver_is_away(host: Host, collector: Host, machine: Machine) -> None:
    """Its cable is pulled, and it is killed in the middle of what it receives."""
    marker, count = uuid.uuid4().hex, 6000
    write(host, marker, count)
    machine.cut()
    try:
        write(host, marker, count)
        time.sleep(10)
    finally:
        machine.heal()
    collector.check_output("systemctl kill --signal=KILL systemd-journal-remote.service || true")
    wanted = sorted([*range(1, count + 1)] * 2)
    # What the receiver had not confirmed is sent again, so a line may come twice.
    soon(lambda: not Counter(wanted) - Counter(arrived(collector, marker)), 120)


@senders
def test_a_sender_that_is_killed_goes_on_where_it_was(host: Host, collector: Host) -> None:
    marker, count = uuid.uuid4().hex, 20_000
    write(host, marker, count)
    for _ in range(5):
        host.check_output("systemctl kill --signal=KILL systemd-journal-upload.service; sleep 0.7")
    soon(lambda: set(arrived(collector, marker)) == set(range(1, count + 1)), 120)


@senders
def test_who_has_no_certificate_of_the_authority_is_refused(host: Host, collector: Host) -> None:
    address = collector.ansible.get_variables()["ansible_host"]
    host.check_output(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=other -days 9 "
        "-keyout /root/other.key -out /root/other.crt 2>/dev/null"
    )
    entry = "MESSAGE=forged\\n_HOSTNAME=forged\\n__REALTIME_TIMESTAMP=1\\n\\n"
    send = f"printf '{entry}' | curl -sk -H 'Content-Type: application/vnd.fdo.journal' --data-binary @- "
    to = f"https://{address}:19532/upload -o /dev/null -w '%{{http_code}}'"
    for proof in ("", "--cert /root/other.crt --key /root/other.key "):
        assert host.run(send + proof + to).stdout.strip() == "000"
    assert collector.run(f"journalctl -D {COLLECTED} -q _HOSTNAME=forged").stdout == ""


def test_old_lines_make_room(collector: Host) -> None:
    """The scenario keeps 64 MB."""
    sender = connect(SENDERS[0])
    sender.check_output("head -c 200000000 /dev/urandom | base64 -w 30000 | systemd-cat -t filling")
    marker = uuid.uuid4().hex
    write(sender, marker, 1)
    soon(lambda: arrived(collector, marker) == [1], 180)
    collector.check_output("systemctl start anchorage-logs-retention.service")
    archived = collector.check_output(f"find {COLLECTED} -name '*@*' -printf '%s\\n'")
    assert sum(map(int, archived.split())) <= 64 * 2**20


def test_every_unit_is_within_its_bound(collector: Host) -> None:
    units = {"systemd-journal-remote.service", "anchorage-logs-tls.service", "anchorage-logs-retention.service"}
    assert breaches(exposures(collector.check_output, units)) == []
    for name in SENDERS:
        assert breaches(exposures(connect(name).check_output, {"systemd-journal-upload.service"})) == []
