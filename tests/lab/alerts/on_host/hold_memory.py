"""Takes memory until only so many percent of it are available. Should another need it, the kernel ends this first.

hold_memory.py PERCENT SECONDS
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

STEP = 64 * 1024 * 1024


def main() -> None:
    """Returns after SECONDS."""
    share = int(sys.argv[1]) / 100
    Path("/proc/self/oom_score_adj").write_text("1000")
    until = time.monotonic() + float(sys.argv[2])
    held = []
    while time.monotonic() < until:
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        kib = {words[0]: int(words[1]) for words in lines}
        if kib["MemAvailable:"] > share * kib["MemTotal:"]:
            # Ones: zeros would not be there before somebody writes them.
            held.append(b"\1" * STEP)
        else:
            time.sleep(0.5)


if __name__ == "__main__":
    main()
