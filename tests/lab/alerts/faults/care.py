"""What runs by a clock. Where a timer or a playbook that fails can't be had in a lab, its file of metrics is written."""

from __future__ import annotations

from tests.lab.alerts.fault import Fault, written


def _ending(name: str, days: int) -> Fault:
    file = f"/etc/anchorage/tls/{name}"
    look = "systemctl start anchorage-certificate-metrics"
    return Fault(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} -subj /CN={name} "
        f"-keyout {file}.key -out {file}.crt 2>/dev/null; {look}",
        f"rm {file}.key {file}.crt; {look}",
        where={"file": f"{file}.crt"},
    )


DRIFT_RAN = "anchorage_drift_last_run_timestamp_seconds"
FAILED_DRILL = written(
    "drill",
    "anchorage_drill_success 0",
    "anchorage_drill_last_success_timestamp_seconds $((now - 9 * 86400))",
)

FAULTS = {
    "CertificateEndsVerySoon": _ending("ending", 3),
    "CertificateEndsSoon": _ending("ending-soon", 15),
    # certbot is not on a host whose certificate is the inner authority's; molecule/certificates fails a real renewal.
    "CertificateRenewalFailed": written(
        "public_certificate",
        "anchorage_public_certificate_renewal_success 0",
        "anchorage_public_certificate_renewal_timestamp_seconds $((now - 60))",
    ),
    "BackupOld": written(
        "backup",
        'anchorage_backup_last_success_timestamp_seconds{part="postgres"} $((now - 27 * 3600))',
        'anchorage_backup_last_success_timestamp_seconds{part="qdrant"} $((now - 3600))',
        labels={"part": "postgres"},
    ),
    "DrillFailed": FAILED_DRILL,
    "DrillOld": FAILED_DRILL,
    "DeployStuck": written(
        "deploy",
        "anchorage_deploy_in_progress 1",
        "anchorage_deploy_started_timestamp_seconds $((now - 2000))",
    ),
    # The look itself is in tests/lab/stack/test_drift.py.
    "DriftFound": written(
        "drift",
        'anchorage_drift_changes{host="$(hostname)"} 2',
        f"{DRIFT_RAN} $((now - 60))",
    ),
    "DriftUnknown": written("drift", f"{DRIFT_RAN} $((now - 3 * 86400))"),
}
