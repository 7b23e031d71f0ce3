"""Postgres, Redis and Qdrant."""

from __future__ import annotations

from tests.lab.alerts.fault import PROGRAMS, Fault, each, ended, running, stopped, together

PSQL = "runuser -u postgres -- psql -qAt -v ON_ERROR_STOP=1 -d postgres"
# Idle ones, until hardly one is left for others.
CONNECTIONS = (
    "COUNT=\"select count(*) from pg_stat_activity where backend_type = 'client backend'\"; "
    "most=$(psql -qAtc 'show max_connections'); there=$(psql -qAtc \"$COUNT\"); "
    "for i in $(seq $((most * 95 / 100 - there))); do sleep 600 | psql -q & done; wait"
)

# A second Postgres that follows the first and stops applying what it gets; then more than 256 MB are written.
REPLICA = "/var/lib/postgresql/fault-replica"
PROGRAM = "$(ls -d /usr/lib/postgresql/*/bin)"
CLUSTER = "$(ls -d /etc/postgresql/*/main)"
WRITING = "select pg_logical_emit_message(false, 'fault', repeat('x', 1000000));"
REPLICATION_LAG = Fault(
    together(
        f"printf '%s\\n' 'local replication postgres peer' >> {CLUSTER}/pg_hba.conf",
        f"{PSQL} -c 'select pg_reload_conf()'",
        f"cd / && runuser -u postgres -- {PROGRAM}/pg_basebackup -h /run/postgresql -D {REPLICA} -R -X stream -c fast",
        f"runuser -u postgres -- cp {CLUSTER}/pg_hba.conf {CLUSTER}/pg_ident.conf {REPLICA}/",
        f"printf '%s\\n' \"port = 5499\" \"unix_socket_directories = '{REPLICA}'\" \"listen_addresses = ''\" "
        f"'hot_standby = on' > {REPLICA}/postgresql.conf",
        f"chown postgres: {REPLICA}/postgresql.conf",
        running("replica", f"exec {PROGRAM}/postgres -D {REPLICA} -c max_connections=200", "--uid=postgres"),
        f"until {PSQL} -h {REPLICA} -p 5499 -c 'select pg_wal_replay_pause()' 2>/dev/null; do sleep 0.5; done",
        f'for i in $(seq 300); do echo "{WRITING}"; done | {PSQL}',
    ),
    each(
        ended("replica"),
        f"sed -i '/^local replication postgres peer$/d' {CLUSTER}/pg_hba.conf",
        f"{PSQL} -c 'select pg_reload_conf()'",
        f"rm -rf {REPLICA}",
    ),
)

REDIS = "REDISCLI_AUTH=$(cat /etc/anchorage/credentials/redis_password) redis-cli -s /run/redis/redis.sock"
# 2,000 keys of a kilobyte a second, in a megabyte more than there is.
EVICTING = (
    "local v = string.rep('x', 1000) for i = 1, 2000 do redis.call('set', 'fault:' .. ARGV[1] .. ':' .. i, v) end"
)
EVICTIONS = Fault(
    together(
        f"{REDIS} config get maxmemory | tail -1 > /run/fault-maxmemory",
        f"used=$({REDIS} info memory | tr -d '\\r' | sed -n 's/^used_memory://p')",
        f"{REDIS} config set maxmemory $((used + 1000000))",
        running("evicting", f'while :; do {REDIS} eval "{EVICTING}" 0 $(date +%s); sleep 1; done'),
    ),
    each(
        ended("evicting"),
        f"{REDIS} eval \"for _, k in ipairs(redis.call('keys', 'fault:*')) do redis.call('del', k) end\" 0",
        f"{REDIS} config set maxmemory $(cat /run/fault-maxmemory)",
        "rm /run/fault-maxmemory",
    ),
)
# Room for one client only, for a moment in which the service and others come.
REJECTIONS = Fault(
    together(
        f"most=$({REDIS} config get maxclients | tail -1)",
        f"(echo config set maxclients 1; sleep 3; echo config set maxclients $most) | {REDIS} & sleep 1; "
        f"for i in 1 2 3 4 5; do {REDIS} ping || true; done; wait",
    ),
    "true",
)

# The timer's own look at Qdrant, led to one that is not well.
LED_ASTRAY = "/run/systemd/system/anchorage-qdrant-metrics.service.d"
SICK_QDRANT = Fault(
    together(
        running("qdrant", f"exec python3 {PROGRAMS}/sick_qdrant.py 6399"),
        f"mkdir -p {LED_ASTRAY}",
        f"printf '%s\\n' '[Service]' 'Environment=QDRANT_URL=http://127.0.0.1:6399' > {LED_ASTRAY}/fault.conf",
        "systemctl daemon-reload",
        "for i in $(seq 20); do ss -ltn | grep -q :6399 && break; sleep 0.2; done",
        "systemctl start anchorage-qdrant-metrics",
    ),
    each(
        ended("qdrant"),
        f"rm -r {LED_ASTRAY}",
        "systemctl daemon-reload",
        "systemctl start anchorage-qdrant-metrics",
    ),
)

FAULTS = {
    "PostgresDown": stopped("postgresql@17-main"),
    "PostgresConnectionsHigh": Fault(
        running("connections", CONNECTIONS, "--uid=postgres"),
        ended("connections"),
    ),
    "PostgresReplicationLag": REPLICATION_LAG,
    "RedisDown": stopped("redis-server"),
    "RedisEvicts": EVICTIONS,
    "RedisRejectsConnections": REJECTIONS,
    "QdrantDown": stopped("qdrant"),
    "QdrantNotGreen": SICK_QDRANT,
    "QdrantRed": SICK_QDRANT,
}
