"""Can everything be had back: the backups, and the restores that were rehearsed."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.panels import BYTES, COUNT, SECONDS, About, Panel, Query, bars, lines, number, states

RESULT = {0: ("failed", "red"), 1: ("good", "green")}


def board() -> Board:
    """A backup is good when a restore of it was rehearsed."""
    return Board(
        "backups",
        "Backups and drills",
        "Age, size and result of each part's backup, and what the last rehearsed restore took and would have lost.",
        [
            Row("", [_oldest(), _last_drill(), _recovery(), _loss(), _size(), _longest()]),
            Row("Backups", [_ages(), _results(), _sizes(), _durations()]),
            Row("Drills", [_drills(), _recoveries()]),
        ],
        span="now-30d",
    )


def _oldest() -> Panel:
    about = About(
        "Oldest good backup",
        "Of the part whose last good one is oldest: so much would be lost with its host.",
        SECONDS,
        alerts=["BackupOld"],
    )
    return number(
        about, Query("max(time() - max by (part) (anchorage_backup_last_success_timestamp_seconds))", now=True)
    )


def _last_drill() -> Panel:
    about = About(
        "Last good drill", "Age of the last restore that was rehearsed and found whole.", SECONDS, alerts=["DrillOld"]
    )
    return number(about, Query("time() - max(anchorage_drill_last_success_timestamp_seconds)", now=True))


def _recovery() -> Panel:
    about = About("Time to recover", "What the last drill needed (RTO); 1 h is promised.", SECONDS)
    return number(about, Query("max(anchorage_drill_rto_seconds)"))


def _loss() -> Panel:
    about = About(
        "Would be lost", "Age of the newest moment that the last drill could restore (RPO); 4 h are promised.", SECONDS
    )
    return number(about, Query("max(anchorage_drill_rpo_seconds)"))


def _size() -> Panel:
    return number(
        About("Size", "Of the newest backup of every part.", BYTES, more="hosts"),
        Query("sum(anchorage_backup_size_bytes)"),
    )


def _longest() -> Panel:
    return number(
        About("Longest backup", "Of the last ones.", SECONDS), Query("max(anchorage_backup_duration_seconds)")
    )


def _ages() -> Panel:
    about = About("Age by part", "Of the last good backup.", SECONDS, alerts=["BackupOld"])
    return bars(
        about, Query("time() - max by (part) (anchorage_backup_last_success_timestamp_seconds)", "{{part}}", now=True)
    )


def _results() -> Panel:
    about = About("Result by part", "Of the last backup.", COUNT, runbooks=["BackupOld"])
    return states(about, Query("min by (part) (anchorage_backup_success)", "{{part}}"), meaning=RESULT)


def _sizes() -> Panel:
    about = About("Size by part", "A jump up fills the disk; a jump down is a backup that lacks something.", BYTES)
    return lines(about, Query("max by (part) (anchorage_backup_size_bytes)", "{{part}}"), stacked=True)


def _durations() -> Panel:
    return lines(
        About("Time by part", "Of the last backup.", SECONDS),
        Query("max by (part) (anchorage_backup_duration_seconds)", "{{part}}"),
    )


def _drills() -> Panel:
    about = About("Drills", "Whether what was restored was what it should be.", COUNT, runbooks=["DrillFailed"])
    return states(about, Query("min(anchorage_drill_success)", "drill"), meaning=RESULT)


def _recoveries() -> Panel:
    about = About(
        "Measured recovery",
        "Time to recover (RTO), and the age of the newest moment that could be restored (RPO).",
        SECONDS,
    )
    return lines(
        about, Query("max(anchorage_drill_rto_seconds)", "RTO"), Query("max(anchorage_drill_rpo_seconds)", "RPO")
    )
