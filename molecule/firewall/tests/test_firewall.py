"""A host behind the role: open to whom a role declared it, closed to all others, and never closed to its operator."""

from __future__ import annotations

import time
from typing import Any

import pytest
from walls import LAB, converge, converging, counted, from_within, listening, reaches, rules

from lab.system import wait_until
from tests.lab.scan import open_ports

FRONT, DATA, NEIGHBOUR = (LAB.host(name) for name in ("front", "data", "neighbour"))
# Rules that lock everybody out.
CUTTING = {"firewall_ssh_from": ["192.0.2.0/24"], "firewall_ssh_operators": []}


def test_a_neighbour_finds_only_what_is_public_whatever_listens() -> None:
    with (
        listening(FRONT, "tcp/80", "tcp/443", "tcp/6379", "tcp/9999", "udp/53", "udp/123"),
        listening(DATA, "tcp/80", "tcp/5432", "udp/53", "udp/123"),
    ):
        assert reaches(DATA, "127.0.0.1", 6379) == "yes"
        before = counted(DATA, "refused_in")
        assert open_ports(NEIGHBOUR, FRONT.address) == {"tcp/22", "tcp/80", "tcp/443"}
        assert open_ports(NEIGHBOUR, DATA.address) == {"tcp/22"}
        assert counted(DATA, "refused_in") - before > 65000


def test_without_the_rules_the_neighbour_would_find_them() -> None:
    """So that silence above is the firewall's, not the scanner's."""
    with listening(DATA, "tcp/9999", "udp/123"):
        DATA.execute("systemctl", "stop", "nftables", root=True)
        try:
            assert {"tcp/6379", "tcp/9999", "udp/123"} <= open_ports(NEIGHBOUR, DATA.address, tcp="6379,9999")
        finally:
            DATA.execute("systemctl", "start", "nftables", root=True)
    assert reaches(NEIGHBOUR, DATA.address, 6379) == "timed out"


def test_a_port_is_open_to_the_group_that_was_declared_and_to_nothing_else() -> None:
    with listening(DATA, "tcp/9999"), listening(NEIGHBOUR, "tcp/6379"):
        assert reaches(FRONT, DATA.address, 6379) == "yes"
        assert reaches(NEIGHBOUR, DATA.address, 6379) == "timed out"
        assert reaches(FRONT, DATA.address, 9999) == "No route to host"
        # What leaves is bound to its destination, too: to another host the same port is closed.
        assert reaches(FRONT, NEIGHBOUR.address, 6379) == "No route to host"


def test_what_no_role_needs_does_not_leave_the_host_and_is_told_at_once() -> None:
    with listening(NEIGHBOUR, "tcp/9999"):
        before = counted(DATA, "refused_out")
        start = time.monotonic()
        assert reaches(DATA, NEIGHBOUR.address, 9999, timeout_s=10) == "No route to host"
        assert time.monotonic() - start < 2
        assert counted(DATA, "refused_out") > before
    DATA.execute("apt-get", "-qq", "update", root=True)


def test_ipv6_has_the_same_walls() -> None:
    local = DATA.execute("ip", "-6", "-o", "address", "show", "dev", "host0", "scope", "link").split()[3].split("/")[0]
    with listening(DATA, "tcp/9999"):
        assert reaches(DATA, "::1", 9999) == "yes"
        assert reaches(NEIGHBOUR, f"{local}%host0", 22) == "yes"
        assert reaches(NEIGHBOUR, f"{local}%host0", 9999) == "timed out"
        assert reaches(NEIGHBOUR, f"{local}%host0", 6379) == "timed out"


@pytest.mark.parametrize("host", [FRONT, DATA], ids=["12", "13"])
def test_who_hammers_at_ssh_is_slowed_and_the_operator_is_not(host: Any) -> None:
    before = counted(host, "slowed_ssh")
    knock = f"timeout 1 bash -c 'exec 3<>/dev/tcp/{host.address}/22; head -c 4 <&3'"
    answers = NEIGHBOUR.execute("bash", "-c", f"for i in $(seq 60); do {knock} & done; wait").count("SSH-")
    assert 1 <= answers <= 25
    assert counted(host, "slowed_ssh") - before >= 35
    for _ in range(25):
        host.execute("true")


def test_rules_that_would_cut_ssh_are_taken_back_by_the_host_itself() -> None:
    before = rules(DATA)
    done = converge(DATA, **CUTTING, firewall_confirm_within_sec=12)
    told = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert "data keeps its former rules" in told, told[-2000:]
    assert "Is its address in firewall_ssh_from or firewall_ssh_operators" in told
    assert rules(DATA) == before
    DATA.execute("true")


def test_rules_that_nobody_confirmed_are_not_loaded_by_the_next_boot() -> None:
    before = rules(DATA)
    with converging(DATA, **CUTTING, firewall_confirm_within_sec=300):
        assert wait_until(lambda: "192.0.2.0/24" in from_within(DATA, "nft", "list", "table", "inet", "anchorage"), 150)
        DATA.kill()
    LAB.start("data")
    assert rules(DATA) == before


def test_the_rules_are_there_after_a_reboot() -> None:
    before = rules(DATA)
    DATA.reboot()
    assert rules(DATA) == before
    assert "network-pre.target" in DATA.execute("systemctl", "show", "-P", "Before", "nftables.service").split()
    assert reaches(NEIGHBOUR, DATA.address, 6379) == "timed out"
    assert reaches(FRONT, DATA.address, 6379) == "yes"


def test_an_entry_of_the_inventory_takes_the_place_of_a_declared_one_and_goes_again() -> None:
    before = rules(DATA)
    flow = {"name": "time (NTP)", "from": ["all"], "to": ["192.0.2.123"], "udp": [123]}
    done = converge(DATA, firewall_flows=[flow])
    assert done.returncode == 0, done.stdout
    times = [line.strip() for line in rules(DATA).splitlines() if "time (NTP)" in line]
    assert len(times) == 2
    assert all("192.0.2.123" in line for line in times)
    assert converge(DATA).returncode == 0
    assert rules(DATA) == before


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    (
        "unknown group",
        {"firewall_flows": [{"name": "Ollama", "from": ["apps"], "to": ["anywhere"], "tcp": [11434]}]},
        "'apps' does not appear to be an IPv4 or IPv6 network",
    ),
    (
        "unknown port",
        {"firewall_flows": [{"name": "Ollama", "from": ["redis"], "to": ["anywhere"], "tcp": ["ollama"]}]},
        "the firewall knows no port 'ollama' for data",
    ),
    ("no network", {"firewall_ssh_operators": ["office"]}, "firewall_ssh_operators: expected an IP address or network"),
    ("no time to confirm", {"firewall_confirm_within_sec": 1}, "firewall_confirm_within_sec 1"),
]


@pytest.mark.parametrize(("variables", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refused_with_its_cause_and_nothing_is_changed(variables: dict[str, Any], message: str) -> None:
    before = rules(DATA)
    done = converge(DATA, **variables)
    assert done.returncode != 0
    assert message in " ".join((done.stdout + done.stderr).split())
    assert rules(DATA) == before
