"""Who is answered, what is kept, and what Redis may do on its host."""

from __future__ import annotations

import socket
import time

import pytest
from ask import SOCKET, TCP, ask, fields, lab, wait_until_ready
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.hardening import breaches, exposures


@pytest.mark.parametrize(("way", "user"), [(TCP, "nobody"), (SOCKET, "anchorage")], ids=["tcp", "socket"])
def test_password_opens_and_nothing_else_does(host: Host, way: str, user: str) -> None:
    assert ask(host, "PING", way=way, user=user) == "PONG"
    assert "NOAUTH" in ask(host, "PING", way=way, user=user, password="")
    assert "WRONGPASS" in ask(host, "AUTH wrong", way=way, user=user, password="")
    assert "NOAUTH" in ask(host, "CONFIG GET dir", way=way, user=user, password="")


def test_socket_is_for_its_group_only(host: Host) -> None:
    found = host.file("/run/redis/redis.sock")
    assert (found.user, found.group, found.mode) == ("redis", "redis", 0o770)
    assert "Permission denied" in ask(host, "PING", way=SOCKET, user="somebody")


def test_it_listens_on_loopback_only(host: Host) -> None:
    listening = {found.split()[3] for found in host.check_output("ss -Hltn sport = :6379").splitlines()}
    assert "127.0.0.1:6379" in listening
    assert listening <= {"127.0.0.1:6379", "[::1]:6379"}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host.ansible.get_variables()["ansible_host"], 6379), timeout=5)


def test_password_is_in_no_file_and_no_log(host: Host) -> None:
    # In brackets, so that sudo's own log of this command does not match.
    pattern = "molecule-redis-passwor[d]"
    with host.sudo():
        files = host.run(f"grep -rls '{pattern}' /etc /var/lib/redis /var/log/redis")
        log = host.run(f"journalctl --no-pager | grep -v ' sudo\\[' | grep '{pattern}'")
        shown = host.run(f"cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep '{pattern}'")
        assert (files.stdout, log.stdout, shown.stdout) == ("", "", "")
        assert host.run("runuser -u somebody -- cat /etc/redis/users.conf").rc != 0


def test_memory_is_bounded_and_the_least_used_keys_go(host: Host) -> None:
    assert ask(host, "FLUSHALL") == "OK"
    ask(host, "EVAL \"for i = 1, 1200 do redis.call('SET', 'k' .. i, string.rep('x', 100000)) end\" 0")
    memory = fields(host, "memory")
    assert memory["maxmemory_policy"] == "allkeys-lfu"
    assert int(memory["used_memory"]) <= int(memory["maxmemory"]) * 1.05
    assert int(fields(host, "stats")["evicted_keys"]) > 0
    assert ask(host, "SET still writes") == "OK"
    ask(host, "FLUSHALL")


def test_a_restart_keeps_the_data(host: Host) -> None:
    ask(host, "SET kept restart")
    with host.sudo():
        host.check_output("systemctl restart redis-server")
    wait_until_ready(host)
    assert ask(host, "GET kept") == "restart"


def test_sigkill_keeps_the_last_snapshot_and_it_comes_back(host: Host) -> None:
    ask(host, "SET kept sigkill")
    saved = fields(host, "persistence")["rdb_last_save_time"]
    time.sleep(1.1)  # the time of a snapshot is in whole seconds
    assert ask(host, "BGSAVE") == "Background saving started"
    deadline = time.monotonic() + 20
    while fields(host, "persistence")["rdb_last_save_time"] == saved:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert fields(host, "persistence")["rdb_last_bgsave_status"] == "ok"
    with host.sudo():
        before = host.check_output("systemctl show -P MainPID redis-server")
        host.check_output("systemctl kill -s KILL redis-server")
        another = f"systemctl show -P MainPID redis-server | grep -qvx -e 0 -e {before}"
        host.check_output(f"timeout 30 sh -c 'until {another}; do sleep 0.1; done'")
    wait_until_ready(host)
    assert ask(host, "GET kept") == "sigkill"


def test_it_comes_back_after_a_power_cut(host: Host) -> None:
    ask(host, "SET kept power")
    assert ask(host, "SAVE") == "OK"
    lab("kill", host)
    lab("start", host)
    wait_until_ready(host)
    assert ask(host, "GET kept") == "power"
    assert ask(host, "PING", way=SOCKET, user="anchorage") == "PONG"


def test_exposure(host: Host) -> None:
    assert breaches(exposures(host.check_output, {"redis-server.service"})) == []


def test_the_append_only_file_can_be_switched_on_and_rewritten(host: Host) -> None:
    ask(host, "SET kept append")
    assert ask(host, "CONFIG SET appendonly yes") == "OK"
    ask(host, "BGREWRITEAOF")
    deadline = time.monotonic() + 20
    while (state := fields(host, "persistence"))["aof_rewrite_in_progress"] + state["aof_rewrite_scheduled"] != "00":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert (state["aof_enabled"], state["aof_last_bgrewrite_status"], state["aof_last_write_status"]) == (
        "1",
        "ok",
        "ok",
    )
    assert ask(host, "CONFIG SET appendonly no") == "OK"


def test_sandbox_bites(host: Host) -> None:
    with host.sudo():
        # The file system as the process sees it; nothing but Redis can be executed in there.
        seen = f"/proc/{host.check_output('systemctl show -P MainPID redis-server')}/root"
        assert "Read-only file system" in host.run(f"touch {seen}/etc/redis/x").stderr
        assert host.run(f"touch {seen}/var/lib/redis/x && rm {seen}/var/lib/redis/x").rc == 0
    # Who has the password still can't make it write elsewhere.
    assert "ERR" in ask(host, "CONFIG SET dir /etc")
    assert "ERR" in ask(host, "CONFIG REWRITE")
