"""What the role closes, and that what it closes around still does its work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testinfra.host import Host

from tests.hardening import breaches, exposures, services, without_floor

TRIAL = "/run/systemd/system/apt-daily-upgrade.service.d/trial.conf"


@pytest.fixture
def upgrade_of_one_package(host: Host) -> Iterator[None]:
    """The unit that installs security updates, with one package to install anew whatever the day's updates are."""
    with host.sudo():
        host.check_output(f"mkdir -p $(dirname {TRIAL})")
        order = "[Service]\\nExecStartPre=\\nExecStart=\\nExecStart=apt-get install --yes --quiet --reinstall sudo\\n"
        host.check_output(f"printf '{order}' > {TRIAL} && systemctl daemon-reload")
        yield
        host.check_output(f"rm {TRIAL} && systemctl daemon-reload")


def test_every_service_has_a_sandbox_within_its_bound(host: Host) -> None:
    with host.sudo():
        found = exposures(host.check_output, services(host.check_output))
        assert {"ssh.service", "unattended-upgrades.service", "apt-daily-upgrade.service"} <= set(found)
        assert breaches(found) == []
        assert without_floor(host.check_output, set(found)) == set()


def test_the_running_services_are_in_their_sandbox(host: Host) -> None:
    with host.sudo():
        for unit in ("ssh", "unattended-upgrades"):
            assert "Seccomp:\t2" in host.check_output(f"cat /proc/$(systemctl show -P MainPID {unit})/status")


def test_an_upgrade_replaces_a_set_user_id_program_from_its_sandbox(host: Host, upgrade_of_one_package: None) -> None:
    with host.sudo():
        before = host.check_output("stat -c %i /usr/bin/sudo")
        host.check_output("systemctl start apt-daily-upgrade.service")
        assert host.check_output("stat -c %i /usr/bin/sudo") != before
        assert host.check_output("stat -c %a /usr/bin/sudo") == "4755"
        assert host.check_output("dpkg --audit") == ""


def test_the_daily_updates_run_from_their_sandbox(host: Host) -> None:
    with host.sudo():
        host.check_output("systemctl start apt-daily.service apt-daily-upgrade.service")
        assert "No packages found that can be upgraded" in host.check_output(
            "cat /var/log/unattended-upgrades/unattended-upgrades.log"
        ) or "Packages that will be upgraded" in host.check_output(
            "cat /var/log/unattended-upgrades/unattended-upgrades.log"
        )


def test_nobody_dumps_core(host: Host) -> None:
    with host.sudo():
        assert host.check_output("systemd-run --quiet --wait --pipe sh -c 'ulimit -Hc'") == "0"
        assert host.check_output("runuser -l ada -c 'ulimit -Hc'") == "0"


def test_a_shell_of_a_person_is_closed_to_others_and_does_not_stay_open(host: Host) -> None:
    with host.sudo():
        assert host.check_output("runuser -l ada -c 'umask; echo $TMOUT'").split() == ["0027", "3600"]
        assert host.check_output("stat -c %a /home/ada") == "700"


def test_what_an_administrator_installs_can_be_read_by_services(host: Host) -> None:
    assert host.run("sudo sh -c umask").stdout.strip() == "0022"
