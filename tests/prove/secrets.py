"""Every secret changed under 20 questions a second, also by runs that are killed; Postgres is asked by password."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from lab.lab import Lab
from lab.up import ROOT, bring_up, service
from tests.lab.load import Report
from tests.lab.secret_change import accepted, killed_at, make_key, questions, vault
from tests.lab.stack.conftest import play_command, play_environment
from tests.prove.scorecard import Figure

ROUNDS = 3
ALL = ("-e", "secrets_rotate=redis,postgres,qdrant,secret_key")
KILLED_AT = (
    "Tell Redis",
    "Start the spare colour",
    "Write the configuration",
    "Restart the active colour",
    "Stop the spare colour",
    "postgres : Owner",
)


def measure() -> list[Figure]:
    """On a lab host of its own."""
    lab = Lab("prove-secrets")
    lab.down()
    try:
        bring_up(lab)
        by_password = _by_password(lab)
        _play(lab, "site.yml", *by_password)
        lasted = []
        key = make_key(lab.hosts[0], "shop")
        old = vault(lab)
        with questions(service(lab), key) as load:
            for _ in range(ROUNDS):
                start = time.monotonic()
                _play(lab, "playbooks/secrets.yml", *ALL, *by_password)
                lasted.append(time.monotonic() - start)
        undisturbed, refused = load.report, not any(accepted(lab.hosts[0], old).values())
        with questions(service(lab), key) as load:
            failed = undisturbed.failures.total()
            print(f"undisturbed: {failed} of {undisturbed.sent} failed", file=sys.stderr, flush=True)  # noqa: T201
            for task in KILLED_AT:
                killed_at(task, play_command("playbooks/secrets.yml", *ALL, *by_password), play_environment(lab))
                _play(lab, "playbooks/secrets.yml", *ALL, *by_password)
        killed = load.report
        left = {name: stage for name, stage in vault(lab).items() if name in ("former", "ended") and stage}
    finally:
        lab.down()
    return [
        _failed(f"secrets changed {ROUNDS} times (Redis, Postgres, Qdrant, SECRET_KEY)", undisturbed),
        Figure("the old ones afterwards", "refused", "refused" if refused else "accepted", refused),
        _failed(f"the same, killed at {len(KILLED_AT)} places and run again", killed),
        Figure(
            "of a change that was killed, left over after the next run", "nothing", str(left or "nothing"), not left
        ),
        Figure("a change of all four", "-", f"{max(lasted):.0f} s at most", True),
    ]


def _failed(what: str, report: Report) -> Figure:
    told = f"{report.failures.total()} of {report.sent}, slowest {report.slowest_s:.1f} s"
    return Figure(f"{what}: failed questions, 20 a second", "0", told, not report.failures and report.sent > 0)


def _by_password(lab: Lab) -> tuple[str, str]:
    """Variables by which the service logs in over TCP, as where Postgres has a host of its own."""
    file = Path(lab.directory) / "by-password.json"
    secrets = {
        name: f"{{{{ secrets_values.{name} }}}}" for name in ("secret_key", "redis_password", "qdrant_api_key")
    } | {
        "secret_key_other": "{{ secrets_values.former.secret_key | default('') }}",
        "database_password": "{{ secrets_values.postgres_password }}",
        "database_password_other": "{{ secrets_values.former.postgres_password | default('') }}",
    }
    variables = {"app_database_url": "postgresql://anchorage@127.0.0.1:5432/anchorage", "app_secrets": secrets}
    file.write_text(json.dumps(variables))
    return ("-e", f"@{file}")


def _play(lab: Lab, playbook: str, *options: str) -> None:
    done = subprocess.run(
        play_command(playbook, *options),
        cwd=ROOT,
        env=play_environment(lab),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{playbook} failed:\n{done.stdout[-4000:]}")
