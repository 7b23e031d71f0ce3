"""Who watches: Prometheus, Alertmanager and the exporters."""

from __future__ import annotations

from tests.lab.alerts.fault import TEXTFILES, Fault, each, stopped, together, written

PROMETHEUS, ALERTMANAGER = "/etc/prometheus/prometheus.yml", "/etc/prometheus/alertmanager.yml"
READ = "systemctl reload prometheus"
TELL = "systemctl reload prometheus-alertmanager"
MARK = "# fault"
# Nobody listens on it.
NOBODY = "127.0.0.1:9"
BETWEEN = "/^alerting:/,/^scrape_configs:/"

# A setting that does not exist, below a mark.
NONSENSE = Fault(
    f"printf '%s\\n' '{MARK}' 'nonsense: true' >> {PROMETHEUS}; {READ}", f"sed -i '/^{MARK}$/,$d' {PROMETHEUS}; {READ}"
)
REMOTE_STORE = f"printf '%s\\n' '{MARK}' 'remote_write:' '  - url: http://{NOBODY}/write' >> {PROMETHEUS}; {READ}"

FAULTS = {
    "TargetDown": stopped("prometheus-redis-exporter"),
    "TextfileBroken": Fault(f"echo 'no metric at all' > {TEXTFILES}/broken.prom", f"rm -f {TEXTFILES}/broken.prom"),
    # A second one that is away: by the first it can be told.
    "AlertmanagerUnreachable": Fault(
        f'sed -i \'{BETWEEN}s/"127.0.0.1:9093"/&, "{NOBODY}"/\' {PROMETHEUS}; {READ}',
        f"sed -i '{BETWEEN}s/, \"{NOBODY}\"//' {PROMETHEUS}; {READ}",
    ),
    # One more receiver, who refuses.
    "NotificationsFail": Fault(
        together(
            f"sed 's|^\\( *- url: \\).*/people.*|&\\n        send_resolved: true\\n\\1http://{NOBODY}/|' "
            f"{ALERTMANAGER} "
            "> /run/two",
            "amtool check-config /run/two >/dev/null",
            f"cat /run/two > {ALERTMANAGER}",
            f"rm /run/two; {TELL}",
        ),
        each(
            f"sed -i '/send_resolved: true/{{N;/{NOBODY.replace('.', '[.]')}/d}}' {ALERTMANAGER}",
            TELL,
        ),
    ),
    # Two series where an alert expects one: they differ in a label that the alert gives itself.
    "RulesFail": written(
        "drift_twice",
        'anchorage_drift_changes{host="one",component="edge"} 1',
        'anchorage_drift_changes{host="one",component="app"} 1',
    ),
    "ConfigurationRefused": NONSENSE,
    "RemoteWriteBehind": Fault(REMOTE_STORE, f"sed -i '/^{MARK}$/,$d' {PROMETHEUS}; {READ}"),
}
