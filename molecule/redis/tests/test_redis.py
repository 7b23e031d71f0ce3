"""Redis after the role: answers those with the password, on this host only, and comes back."""

from __future__ import annotations

import json

from testinfra.host import Host

PASSWORD = "molecule-password-of-redis"


def cli(host: Host, *words: str, password: str | None = PASSWORD, via: str = "-h 127.0.0.1") -> str:
    secret = f"REDISCLI_AUTH={password} " if password else ""
    return host.run(f"{secret}redis-cli {via} {' '.join(words)}").stdout.strip()


def test_the_password_opens_it_and_nothing_else_does(host: Host) -> None:
    assert cli(host, "PING") == "PONG"
    assert "NOAUTH" in cli(host, "PING", password=None)
    assert "NOAUTH" in cli(host, "PING", password="wrong-password-of-redis")


def test_the_socket_is_for_its_group_only(host: Host) -> None:
    with host.sudo():
        assert cli(host, "PING", via="-s /run/redis/redis.sock") == "PONG"
    assert "Permission denied" in host.run("redis-cli -s /run/redis/redis.sock PING").stderr


def test_it_listens_on_loopback_only(host: Host) -> None:
    assert not host.socket("tcp://0.0.0.0:6379").is_listening
    assert host.socket("tcp://127.0.0.1:6379").is_listening


def test_memory_is_bounded_and_the_least_used_goes_first(host: Host) -> None:
    assert int(cli(host, "CONFIG", "GET", "maxmemory").split()[-1]) >= 64 * 1024 * 1024
    assert cli(host, "CONFIG", "GET", "maxmemory-policy").split()[-1] == "allkeys-lfu"


def test_what_was_saved_is_there_after_a_kill(host: Host) -> None:
    assert cli(host, "SET", "berth", "34") == "OK"
    assert cli(host, "SAVE") == "OK"
    with host.sudo():
        host.check_output("systemctl kill --signal=KILL redis-server")
        host.check_output(
            "sh -c 'until systemctl is-active -q redis-server && redis-cli PING >/dev/null; do sleep 0.2; done'"
        )
    assert cli(host, "GET", "berth") == "34"


def test_a_snapshot_works_inside_the_sandbox(host: Host) -> None:
    assert "Background saving started" in cli(host, "BGSAVE")
    host.check_output(
        f"timeout 10 sh -c 'until REDISCLI_AUTH={PASSWORD} redis-cli INFO persistence | grep -q rdb_bgsave_in_progress:0; do sleep 0.1; done'"
    )
    assert "rdb_last_bgsave_status:ok" in cli(host, "INFO", "persistence")


def test_the_sandbox_holds(host: Host) -> None:
    told = host.check_output("systemd-analyze security --no-pager redis-server.service")
    exposure = float(told.splitlines()[-1].split("redis-server.service:")[1].split()[0])
    assert exposure <= 1.6


def test_its_configuration_is_not_for_everybody(host: Host) -> None:
    assert host.run("cat /etc/redis/redis.conf").rc != 0
    assert json.dumps(PASSWORD) not in host.run("systemctl show redis-server").stdout
