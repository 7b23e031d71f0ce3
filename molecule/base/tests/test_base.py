"""A host after the role: closed to passwords, open to keys, its journal bounded, its updates by themselves."""

from __future__ import annotations

from testinfra.host import Host


def refused_login(host: Host, options: str) -> str:
    """What ssh says of a log-in that must fail."""
    options = f"-o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=DEBUG1 {options}"
    told = host.run(f"sh -c 'ssh {options} nobody@127.0.0.1 2>&1 || echo refused'").stdout.replace("\r", "")
    assert told.rstrip().endswith("refused")
    return told


def test_passwords_open_nothing(host: Host) -> None:
    told = refused_login(host, "-v -o PubkeyAuthentication=no")
    assert "Authentications that can continue: publickey\n" in told


def test_only_modern_algorithms_are_offered(host: Host) -> None:
    with host.sudo():
        settings = host.check_output("sshd -T")
    assert "hmac-sha1" not in settings
    assert "diffie-hellman" not in settings
    assert "no matching cipher" in refused_login(host, "-o Ciphers=aes128-ctr")


def test_the_administrator_becomes_root_without_a_password(host: Host) -> None:
    with host.sudo("ada"):
        assert host.check_output("sudo -n id -u") == "0"


def test_the_journal_is_kept_and_bounded(host: Host) -> None:
    assert host.file("/var/log/journal").is_directory
    settings = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    assert "SystemMaxUse=1G" in settings


def test_security_updates_come_by_themselves_and_never_restart_the_host(host: Host) -> None:
    settings = host.check_output("apt-config dump")
    assert 'APT::Periodic::Unattended-Upgrade "1";' in settings
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in settings
    assert settings.count("Unattended-Upgrade::Origins-Pattern:: ") == 1


def test_redirects_are_refused(host: Host) -> None:
    assert host.sysctl("net.ipv4.conf.all.accept_redirects") == 0


def test_nothing_failed(host: Host) -> None:
    assert host.check_output("systemctl --failed --plain --no-legend") == ""
