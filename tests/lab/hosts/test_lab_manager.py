"""The lab's hosts are real systems, and their power, disk and network obey."""

from __future__ import annotations

import subprocess

import pytest

from lab import Host, HostSpec, Lab, LabError
from tests.lab.hosts import traces

pytestmark = pytest.mark.lab


@pytest.fixture
def one(lab: Lab) -> Host:
    return lab.host("one")


@pytest.fixture
def two(lab: Lab) -> Host:
    return lab.host("two")


def reaches(source: Host, target: Host) -> bool:
    try:
        source.execute("ping", "-c1", "-W1", target.name, root=True)
    except LabError:
        return False
    return True


def answers_ssh(host: Host) -> bool:
    return subprocess.run(host.ssh_command("true"), capture_output=True, check=False).returncode == 0


def boot_id(host: Host) -> str:
    return host.execute("cat", "/proc/sys/kernel/random/boot_id")


def write(host: Host, path: str, text: str) -> None:
    host.execute("sh", "-c", f"echo {text} > {path}", root=True)


@pytest.mark.parametrize(("name", "codename"), [("one", "trixie"), ("two", "bookworm")])
def test_a_host_is_a_whole_debian_under_its_own_systemd(lab: Lab, name: str, codename: str) -> None:
    host = lab.host(name)
    assert f"VERSION_CODENAME={codename}" in host.execute("cat", "/etc/os-release")
    assert host.execute("systemctl", "is-system-running").strip() == "running"
    assert host.execute("hostname").strip() == name
    assert host.execute("readlink", "/proc/1/exe", root=True).strip().endswith("systemd")


def test_hosts_know_each_other_by_name_and_have_identities_of_their_own(one: Host, two: Host) -> None:
    assert reaches(one, two)
    assert reaches(two, one)
    for path in ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"):
        assert one.execute("cat", path) != two.execute("cat", path)


@pytest.mark.parametrize("name", ["one", "two"])
def test_apt_and_pip_and_uv_work_inside(lab: Lab, name: str) -> None:
    host = lab.host(name)
    host.execute("apt-get", "install", "-y", "-qq", "--no-install-recommends", "python3-venv", root=True)
    host.execute("python3", "-m", "venv", "env")
    host.execute("env/bin/pip", "install", "-q", "uv")
    host.execute("env/bin/uv", "pip", "install", "--python", "env/bin/python", "-q", "idna")
    assert host.execute("env/bin/python", "-c", "import idna; print(idna.encode('bücher').decode())").strip() == (
        "xn--bcher-kva"
    )


def test_up_again_touches_nothing(lab: Lab, one: Host) -> None:
    leader, boot = one.leader, boot_id(one)
    assert [host.name for host in lab.up([("one", "trixie"), ("two", "bookworm")])] == ["one", "two"]
    assert (one.leader, boot_id(one)) == (leader, boot)


def test_an_unknown_host_is_refused_with_those_there_are(lab: Lab) -> None:
    with pytest.raises(LabError, match=rf"lab {lab.name} has no host nobody; it has one, two"):
        lab.host("nobody")


def test_a_reboot_from_within_comes_back_on_the_same_disk(one: Host) -> None:
    write(one, "/root/kept", "kept")
    before = boot_id(one), one.leader
    one.reboot()
    assert one.leader != before[1]
    assert one.execute("cat", "/root/kept", root=True) == "kept\n"
    assert one.execute("systemctl", "is-system-running").strip() == "running"


def test_a_power_cut_leaves_no_process_and_the_disk_boots_again(lab: Lab, one: Host) -> None:
    write(one, "/root/marker", "written")
    one.execute("systemd-run", "--quiet", "--unit=long", "sleep", "3600", root=True)
    leader = one.leader
    one.kill()
    assert not one.alive
    assert one.leader is None
    assert not answers_ssh(one)
    lab.start("one")
    assert one.leader not in (None, leader)
    assert one.execute("cat", "/root/marker", root=True) == "written\n"
    assert one.execute("systemctl", "is-system-running").strip() == "running"
    journal = one.journal(lines=4000)
    assert "Started long.service" in journal, "the journal goes back before the power cut"


def test_a_host_that_is_off_says_so_and_still_shows_its_journal(lab: Lab, two: Host) -> None:
    two.stop()
    assert not two.alive
    with pytest.raises(LabError, match="two is off; start it first"):
        two.cut()
    assert "systemd" in two.journal(lines=50)
    lab.start("two")
    assert answers_ssh(two)


def test_a_cut_cable_separates_a_host_from_all_others_until_it_is_healed(one: Host, two: Host) -> None:
    one.cut()
    try:
        assert not reaches(two, one)
        assert not answers_ssh(one)
        assert one.alive
    finally:
        one.heal()
    assert reaches(two, one)
    assert answers_ssh(one)


def test_a_snapshot_brings_back_what_was_and_only_that_hosts(lab: Lab, one: Host, two: Host) -> None:
    for host in (one, two):
        write(host, "/root/state", f"first-{host.name}")
        lab.snapshot(host.name, "clean")
        write(host, "/root/state", "second")
        host.execute("rm", "/etc/debian_version", root=True)
    lab.restore("one", "clean")
    assert one.execute("cat", "/root/state", root=True) == "first-one\n"
    assert one.execute("cat", "/etc/debian_version")
    assert two.execute("cat", "/root/state", root=True) == "second\n"
    with pytest.raises(LabError, match="has no snapshot other"):
        lab.restore("one", "other")


def test_a_host_made_from_a_snapshot_has_its_files_and_an_identity_of_its_own(lab: Lab, one: Host) -> None:
    write(one, "/root/grown", "here")
    lab.snapshot("one", "grown")
    (clone,) = lab.up([HostSpec("three", "trixie", "grown")])
    assert clone.execute("cat", "/root/grown", root=True) == "here\n"
    for path in ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub", "/etc/hostname"):
        assert clone.execute("cat", path) != one.execute("cat", path)
    assert reaches(one, clone), "hosts that were running learn the name of a new one"
    with pytest.raises(LabError, match="three stand on snapshot grown"):
        lab.snapshot("one", "grown")


def test_down_leaves_nothing_even_of_hosts_that_are_off_or_cut(lab: Lab) -> None:
    """Last: it takes the module's lab down."""
    lab.host("one").cut()
    lab.host("two").kill()
    held = traces.of_lab(lab)
    assert all(held.values()), f"the test must look for things that were there: {held}"
    lab.down()
    assert traces.left(held) == {}
    assert not lab.exists
