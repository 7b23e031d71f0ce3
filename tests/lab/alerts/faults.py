"""What makes each page: a fault of a lab VM that has the whole stack, and how it is undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """Shell, as root on the host. ``load``: a question a second is asked meanwhile."""

    cause: str
    undo: str
    load: bool = False


def stopped(unit: str) -> Fault:
    return Fault(f"systemctl stop '{unit}'", f"systemctl start '{unit}'")


# Every request is answered by 503, while nginx and all behind it are well.
CLOSED = Fault("touch /etc/nginx/maintenance", "rm -f /etc/nginx/maintenance")

# The service alone does not reach Qdrant, which is well.
CUT_FROM_QDRANT = Fault(
    "printf '%s\\n' 'table inet fault {' 'chain out {' 'type filter hook output priority -10;' "
    "'meta skuid anchorage tcp dport 6333 reject with tcp reset' '}' '}' | nft -f -; ss -K dport = 6333 || true",
    "nft delete table inet fault",
    load=True,
)

# A file system of 8 MB; an overlay, because what lies in memory is not watched.
SMALL = "/srv/small-disk"
FULL_DISK = Fault(
    f"mkdir -p {SMALL}/memory {SMALL}/disk && mount -t tmpfs -o size=8m none {SMALL}/memory && cd {SMALL}/memory && "
    f"mkdir low up work && mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none {SMALL}/disk && "
    f"head -c 8000000 /dev/zero > {SMALL}/disk/filling",
    f"umount {SMALL}/disk; umount {SMALL}/memory; rm -r {SMALL}",
)

ENDING = "/etc/anchorage/tls/ending"
ENDING_CERTIFICATE = Fault(
    f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -subj /CN=ending "
    f"-keyout {ENDING}.key -out {ENDING}.crt 2>/dev/null; systemctl start anchorage-certificate-metrics",
    f"rm {ENDING}.key {ENDING}.crt; systemctl start anchorage-certificate-metrics",
)

FAULTS: Mapping[str, Fault] = {
    "AppDown": stopped("anchorage-app@blue"),
    "WorkerDown": stopped("anchorage-worker"),
    "NginxDown": stopped("nginx"),
    "PostgresDown": stopped("postgresql@17-main"),
    "RedisDown": stopped("redis-server"),
    "QdrantDown": stopped("qdrant"),
    # From outside a host that is away looks the same; that it is cut off is tested in molecule/prometheus.
    "HostDown": stopped("prometheus-node-exporter"),
    "EdgeUnreachable": CLOSED,
    "QuestionUnanswered": CLOSED,
    "ErrorRateVeryHigh": CUT_FROM_QDRANT,
    "DiskFull": FULL_DISK,
    "CertificateEndsVerySoon": ENDING_CERTIFICATE,
}

# Pages that are not caused here, and why.
ELSEWHERE: Mapping[str, str] = {
    "AvailabilityBurnsFast": "a budget needs as long as its burning takes; tests/alerts has the hours",
    "AvailabilityBurns": "the same",
    "LatencyBurnsFast": "the same",
    "LatencyBurns": "the same",
    "AnswersVerySlow": "no way to make only the service slow by 8 s in a lab that has no slow network or disk",
    "AlertmanagerUnreachable": "it can't arrive by what is away: the dead man's switch falls silent, which is tested",
}
