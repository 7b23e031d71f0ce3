"""`make bench`: figures and ratios that need no lab."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.bench import abstention, embedding, retrieval, telemetry


def main() -> int:
    """Print each benchmark; those that need the data sets say when they are absent."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--data", type=Path, default=retrieval.DATASETS, help="folder of the data sets")
    options = parser.parse_args()
    asyncio.run(embedding.main())
    telemetry.main()
    if not (options.data / "xquad-en").is_dir():
        print(f"abstention, retrieval: no data sets at {options.data}; name their folder with --data", file=sys.stderr)  # noqa: T201
        return 1
    asyncio.run(abstention.main(options.data))
    asyncio.run(retrieval.main(options.data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
