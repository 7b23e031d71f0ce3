"""Backup sets: which are whole, which go, and what is found when a file of one is opened."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).resolve().parents[3] / "roles/backup/files/backup"
NOW = datetime(2026, 11, 21, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, Any]]:
    """The modules, by name; they find each other as on a host, in their own folder."""
    names = ("common", "sets", "postgres", "qdrant", "restore")
    sys.path.insert(0, str(PROGRAMS))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(PROGRAMS))
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture
def settings(programs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "sets").mkdir()
    (tmp_path / "backup_passphrase").write_text("a passphrase of the tests\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return programs["common"].Settings({"repository": str(tmp_path), "keep_days": 30, "keep_vectors_days": 2})


def made(programs: dict[str, Any], settings: Any, age: timedelta, *parts: str, whole: bool = True) -> Path:
    draft = programs["sets"].Draft(settings, NOW - age)
    draft.parts = {part: {} for part in parts}
    if whole:
        draft.finish({})
    path = draft.path
    assert isinstance(path, Path)
    return path


def test_the_newest_of_a_part_is_found_and_what_is_not_whole_is_none(programs: dict[str, Any], settings: Any) -> None:
    made(programs, settings, timedelta(days=2), "postgres", "qdrant")
    day = made(programs, settings, timedelta(days=1), "postgres", "qdrant")
    vectors = made(programs, settings, timedelta(hours=4), "qdrant")
    made(programs, settings, timedelta(hours=1), "postgres", whole=False)
    newest = programs["sets"].newest
    assert newest(settings, "postgres").path == day
    assert newest(settings, "qdrant").path == vectors
    assert newest(settings, "qdrant", NOW - timedelta(hours=5)).path == day
    with pytest.raises(programs["common"].BackupError, match="no backup of qdrant from before 2026-11-01"):
        newest(settings, "qdrant", datetime(2026, 11, 1, tzinfo=UTC))


def test_two_of_one_second_do_not_meet(programs: dict[str, Any], settings: Any) -> None:
    paths = {made(programs, settings, timedelta(), "qdrant") for _ in range(3)}
    assert len(paths) == 3


def test_what_is_old_goes_but_never_the_newest_of_a_part(programs: dict[str, Any], settings: Any) -> None:
    gone = [
        made(programs, settings, timedelta(days=40), "postgres", "qdrant"),
        made(programs, settings, timedelta(days=3), "qdrant"),
        made(programs, settings, timedelta(hours=1), "postgres", whole=False),
    ]
    kept = [
        made(programs, settings, timedelta(days=35), "postgres", "qdrant", "redis"),
        made(programs, settings, timedelta(days=31), "postgres", "qdrant"),
        made(programs, settings, timedelta(days=1), "qdrant"),
    ]
    programs["sets"].clean(settings, NOW)
    assert [path.exists() for path in gone] == [False] * len(gone)
    assert [path.exists() for path in kept] == [True] * len(kept)


@pytest.fixture
def sealed(programs: dict[str, Any], settings: Any, tmp_path: Path) -> Any:
    """A set with one file."""
    source = tmp_path / "source"
    source.write_bytes(b"what is to be kept " * 1000)
    draft = programs["sets"].Draft(settings, NOW)
    draft.take(source, "file.enc")
    draft.parts = {"configuration": {"file": "file.enc"}}
    draft.finish({})
    return programs["sets"].newest(settings, "configuration")


def test_a_file_comes_back_as_it_was_and_can_be_read_by_nobody_else(sealed: Any, tmp_path: Path) -> None:
    assert b"to be kept" not in (sealed.path / "file.enc").read_bytes()
    sealed.open("file.enc", tmp_path / "opened")
    assert (tmp_path / "opened").read_bytes() == (tmp_path / "source").read_bytes()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-16]), "truncated"),
        (lambda path: path.write_bytes(b""), "has 0 bytes"),
        (flip, "corrupt"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: (path.parents[2] / "backup_passphrase").write_text("another\n"), "passphrase"),
    ],
    ids=["truncated", "empty", "corrupt", "missing", "wrong key"],
)
def test_a_file_that_is_not_what_it_was_is_refused(
    programs: dict[str, Any], sealed: Any, tmp_path: Path, harm: Any, message: str
) -> None:
    harm(sealed.path / "file.enc")
    with pytest.raises(programs["common"].BackupError, match=message):
        sealed.open("file.enc", tmp_path / "opened")


def test_a_set_of_another_format_is_not_guessed_at(programs: dict[str, Any], settings: Any) -> None:
    path = made(programs, settings, timedelta(), "postgres")
    (path / "manifest.json").write_text('{"format": 2, "parts": {}}')
    with pytest.raises(programs["common"].BackupError, match="has the format 2"):
        programs["sets"].newest(settings, "postgres")


def test_metrics_are_as_the_exporter_reads_them(programs: dict[str, Any]) -> None:
    text = programs["common"].prometheus({"a_b": ("What.", {'part="x"': 1.0, "": 1763690400.5})})
    assert text == '# HELP a_b What.\n# TYPE a_b gauge\na_b{part="x"} 1\na_b 1763690400.5\n'


@pytest.mark.parametrize("text", ["2026-11-20 14:03", "2026-11-20T14:03:00Z", "2026-11-20 15:03+01:00"])
def test_a_moment_is_utc_unless_it_says_otherwise(programs: dict[str, Any], text: str) -> None:
    assert programs["restore"].moment(text) == datetime(2026, 11, 20, 14, 3, tzinfo=UTC)
