"""A host after the role: closed to passwords, open to keys, its journal bounded, its updates by themselves."""

from __future__ import annotations

import os
import subprocess

import pytest
from testinfra.host import Host

from lab import Host as LabHost
from lab import Lab

KEY_EXCHANGE = {"13": "mlkem768x25519-sha256", "12": "sntrup761x25519-sha512"}


@pytest.fixture
def machine(host: Host) -> LabHost:
    """The host's power switch, and the address it answers on."""
    lab = Lab(f"mol-{os.environ['MOLECULE_SCENARIO_NAME']}")
    address = host.backend.get_hostname()
    return next(machine for machine in lab.hosts if machine.name == address)


def log_in(machine: LabHost, user: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Try to log in from outside; BatchMode, so that nothing waits for an answer."""
    command = ["ssh", "-v", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    command += ["-o", "BatchMode=yes", *options, f"{user}@{machine.address}", "sudo -n id -un"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603


@pytest.mark.parametrize("user", ["ada", "root", "nobody"])
def test_a_password_opens_nothing_even_where_there_is_one(host: Host, machine: LabHost, user: str) -> None:
    with host.sudo():
        if user == "ada":
            host.run_test("echo 'ada:correct horse' | chpasswd")
    options = ("-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password,keyboard-interactive")
    told = log_in(machine, user, *options)
    assert told.returncode == 255
    assert "Permission denied (publickey)." in told.stderr


def test_an_administrator_logs_in_by_key_and_becomes_root(machine: LabHost) -> None:
    told = log_in(machine, "ada", "-i", str(machine.identity))
    assert (told.returncode, told.stdout) == (0, "root\n"), told.stderr


def test_the_best_key_exchange_both_know_is_taken(host: Host, machine: LabHost) -> None:
    with host.sudo():
        settings = host.check_output("sshd -T")
    wanted = KEY_EXCHANGE[host.system_info.release.split(".")[0]]
    offered = next(line for line in settings.splitlines() if line.startswith("kexalgorithms ")).split()[1].split(",")
    assert offered[0] == wanted
    assert not any("diffie-hellman" in name or "nistp" in name for name in offered)
    told = log_in(machine, "ada", "-i", str(machine.identity), "-o", "KexAlgorithms=curve25519-sha256")
    assert "kex: algorithm: curve25519-sha256" in told.stderr


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("Ciphers=aes128-ctr", "no matching cipher found"),
        ("KexAlgorithms=diffie-hellman-group14-sha256", "no matching key exchange method found"),
        ("KexAlgorithms=ecdh-sha2-nistp256", "no matching key exchange method found"),
    ],
)
def test_an_old_algorithm_is_not_spoken(machine: LabHost, option: str, reason: str) -> None:
    told = log_in(machine, "ada", "-i", str(machine.identity), "-o", option)
    assert told.returncode == 255
    assert reason in told.stderr


def test_roots_password_is_locked_and_a_former_administrator_is_gone(host: Host) -> None:
    with host.sudo():
        assert host.check_output("passwd -S root").split()[1] == "L"
    assert not host.user("games").exists


def test_the_running_journal_is_on_disk_and_within_its_bound(host: Host) -> None:
    with host.sudo():
        said = host.check_output("journalctl -u systemd-journald -o cat")
    last = [line for line in said.splitlines() if line.startswith("System Journal")][-1]
    assert "(/var/log/journal/" in last
    assert "max 48" in last


def test_only_security_updates_come_and_never_restart_the_host(host: Host) -> None:
    with host.sudo():
        said = host.check_output("unattended-upgrade --dry-run --debug 2>&1")
    allowed = next(line for line in said.splitlines() if line.startswith("Allowed origins are:"))
    codename = host.system_info.codename
    assert allowed.split(": ", 1)[1] == f"origin=Debian,codename={codename}-security,label=Debian-Security"
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in host.check_output("apt-config dump")
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert host.service(timer).is_enabled
        assert host.service(timer).is_running


def test_the_time_service_would_ask_the_servers_that_were_named(host: Host) -> None:
    """A lab host may not set the clock, so chronyd is run without that power."""
    assert host.service("chrony").is_enabled
    with host.sudo():
        try:
            host.check_output("systemd-run --quiet --unit=time-trial chronyd -d -x -F 1")
            host.check_output("timeout 10 sh -c 'until chronyc -n tracking; do sleep 0.2; done'")
            assert "192.0.2.123" in host.check_output("chronyc -n sources")
            assert "200 OK" in host.check_output("chronyc reload sources")
        finally:
            host.run("systemctl stop time-trial")


def test_redirects_are_refused(host: Host) -> None:
    assert host.sysctl("net.ipv4.conf.all.accept_redirects") == 0


def test_all_of_it_survives_a_reboot(host: Host, machine: LabHost) -> None:
    before = host.check_output("cat /proc/sys/kernel/random/boot_id; cat /proc/1/stat")
    machine.reboot()
    assert machine.execute("sh", "-c", "cat /proc/sys/kernel/random/boot_id; cat /proc/1/stat") != before
    assert machine.execute("systemctl", "is-system-running") == "running\n"
    assert machine.execute("hostname") == f"{machine.name}.example.test\n"
    assert machine.execute("getent", "hosts", f"{machine.name}.example.test").split()[0] == "127.0.1.1"
    assert machine.execute("cat", "/proc/sys/net/ipv4/conf/all/accept_redirects") == "0\n"
    assert machine.execute("systemctl", "is-active", "apt-daily-upgrade.timer") == "active\n"
    assert log_in(machine, "ada", "-i", str(machine.identity)).stdout == "root\n"
