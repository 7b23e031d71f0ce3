"""What runs by a clock. Where the timer or playbook can't be made to fail in a lab, its file of metrics is written."""

from __future__ import annotations

from tests.lab.alerts.fault import TEXTFILES, Fault, each, no_unit, together, unit, written


def _ending(name: str, days: int) -> Fault:
    file = f"/etc/anchorage/tls/{name}"
    look = "systemctl start anchorage-certificate-metrics"
    return Fault(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} -subj /CN={name} "
        f"-keyout {file}.key -out {file}.crt 2>/dev/null; {look}",
        f"rm {file}.key {file}.crt; {look}",
        where={"file": f"{file}.crt"},
    )


def _missed(name: str, fault: Fault, by: str, *fresh: str) -> Fault:
    """A unit stands for the one that should have run: started, it writes that it did so just now."""
    lines = "; ".join(f"echo {metric}" for metric in fresh)
    program = f"({lines}) > {TEXTFILES}/anchorage_{name}.prom"
    return Fault(f"{unit(by, program)}; {fault.cause}", each(no_unit(by), fault.undo), fills={"UNIT": f"echo {by}"})


DRIFT_RAN = "anchorage_drift_last_run_timestamp_seconds"
BACKED_UP, DRILLED = "anchorage_backup_last_success_timestamp_seconds", "anchorage_drill_last_success_timestamp_seconds"
SETS = "/var/lib/anchorage-backup/sets"
SETS_BACK = f"[ ! -e {SETS}-away ] || {{ rm -r {SETS}; mv {SETS}-away {SETS}; }}"
RENEWED = "anchorage_public_certificate_renewal"

FAULTS = {
    "CertificateEndsVerySoon": _ending("ending", 3),
    "CertificateEndsSoon": _ending("ending-soon", 15),
    # certbot is not on a host whose certificate is the inner authority's; molecule/letsencrypt fails a real renewal.
    "CertificateRenewalFailed": _missed(
        "public_certificate",
        written("public_certificate", f"{RENEWED}_success 0", f"{RENEWED}_timestamp_seconds $((now - 60))"),
        "certbot",
        f"{RENEWED}_success 1",
        f"{RENEWED}_timestamp_seconds $(date +%s)",
    ),
    # The units themselves are what the runbooks start.
    "BackupOld": written("backup", f"{BACKED_UP} $((now - 27 * 3600))"),
    # A drill that really finds no backup.
    "DrillFailed": Fault(
        together(
            f"mv {SETS} {SETS}-away",
            f"install -d -o postgres -g postgres -m 0700 {SETS}",
            "! systemctl start anchorage-drill 2>/dev/null",
        ),
        each(SETS_BACK, "systemctl start anchorage-drill"),
        mend=SETS_BACK,
    ),
    "DrillOld": written("drill", f"{DRILLED} $((now - 9 * 86400))"),
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
        fills={"HOST": "hostname"},
    ),
    "DriftUnknown": written("drift", f"{DRIFT_RAN} $((now - 3 * 86400))"),
}
