"""What `playbooks/status.yml` makes of what it finds; that it finds it is tested on a host (tests/lab/stack)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROLE = Path(__file__).parents[3] / "roles/status"
HOUR = 3600


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


look = loaded(ROLE / "library/status_look.py")
show = loaded(ROLE / "action_plugins/status_show.py")


def run(command: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("days", "state"), [(2, "bad"), (10, "warn"), (90, "good")])
def test_a_certificate_is_judged_by_the_days_it_has_left(tmp_path: Path, days: int, state: str) -> None:
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=x",
    ]
    subprocess.run(
        [*made, "-days", str(days), "-keyout", "/dev/null", "-out", tmp_path / "edge.crt"],
        check=True,
        capture_output=True,
    )
    (found,) = look.certificates(run, [f"{tmp_path}/*.crt"], time.time() + HOUR)
    assert (found["what"], found["state"]) == ("certificate edge.crt", state)


def test_a_certificate_that_can_t_be_read_is_bad(tmp_path: Path) -> None:
    (tmp_path / "edge.crt").write_text("nothing")
    (found,) = look.certificates(run, [f"{tmp_path}/*.crt"], 0)
    assert found["state"] == "bad"


def test_what_a_timer_did_too_long_ago_is_bad(tmp_path: Path) -> None:
    (tmp_path / "backup.prom").write_text(
        "# TYPE anchorage_backup_last_success_timestamp_seconds gauge\n"
        'anchorage_backup_last_success_timestamp_seconds{part="postgres"} 1.0e+06\n'
        'anchorage_backup_last_success_timestamp_seconds{part="qdrant"} 1090000\n'
    )
    limits = {"anchorage_backup_last_success_timestamp_seconds": 26}
    found = list(look.ages(str(tmp_path), limits, 1_000_000 + 27 * HOUR))
    assert [(row["what"], row["state"]) for row in found] == [
        ('backup last success{part="postgres"}', "bad"),
        ('backup last success{part="qdrant"}', "good"),
    ]


def test_an_alertmanager_that_is_away_is_bad() -> None:
    (found,) = look.alerts("http://127.0.0.1:9")
    assert found["state"] == "bad"
    assert "does not answer" in found["detail"]


def test_the_screen_begins_with_what_is_wrong() -> None:
    rows = [look.row("disk /", "warn", "86 %"), look.row("nginx", "good", "active")]
    lines = show.screen({"one": rows, "another": [look.row("qdrant", "bad", "failed")]})
    assert [colour for _, colour in lines] == ["red", "yellow", "green"]
    assert lines[0][0].split() == ["BAD", "another", "qdrant", "failed"]
