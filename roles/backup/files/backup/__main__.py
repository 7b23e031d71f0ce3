"""Backup, drill and restore of a host: `python3 /usr/local/lib/anchorage/backup VERB …`; the units say how."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import drill
import make
import restore
from common import BackupError, Settings

VERBS: dict[str, Callable[[Settings, list[str]], int]] = {
    "make": make.main,
    "drill": drill.main,
    "plan": restore.plan,
    "vectors": restore.vectors,
}


def main() -> int:
    """Status 1 and one sentence when it failed. Whoever ends it has it tidy up first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return VERBS[sys.argv[1]](Settings.load(), sys.argv[2:])
    except BackupError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1


if __name__ == "__main__":
    sys.exit(main())
