#!/usr/bin/env python3
"""The status of each of Qdrant's collections, which its own metrics lack, as a file for the node exporter.

Environment: QDRANT_URL; QDRANT_CA, a PEM file, where that is HTTPS; TEXTFILE, where to write; CREDENTIALS_DIRECTORY
with qdrant_key, which may read.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.parse
import urllib.request
from pathlib import Path

STATUSES = ("green", "yellow", "grey", "red")
NAME = "anchorage_qdrant_collection_status"


def main() -> None:
    """Raises OSError when Qdrant does not answer: the unit fails, and the former file is gone, not stale."""
    target = Path(os.environ["TEXTFILE"])
    key = (Path(os.environ["CREDENTIALS_DIRECTORY"]) / "qdrant_key").read_text().strip()
    ca = os.environ.get("QDRANT_CA")
    context = ssl.create_default_context(cafile=ca) if ca else None

    def ask(path: str) -> dict:
        request = urllib.request.Request(os.environ["QDRANT_URL"] + path, headers={"api-key": key})  # noqa: S310
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:  # noqa: S310
            return json.load(answer)["result"]

    lines = [f"# HELP {NAME} 1 for the status that a collection of Qdrant has.", f"# TYPE {NAME} gauge"]
    try:
        for name in sorted(item["name"] for item in ask("/collections")["collections"]):
            found = ask(f"/collections/{urllib.parse.quote(name, safe='')}")["status"]
            labels = f"collection={json.dumps(name)}"
            lines += [f"{NAME}{{{labels},status={json.dumps(status)}}} {int(found == status)}" for status in STATUSES]
    except OSError:
        target.unlink(missing_ok=True)
        raise
    beside = target.with_suffix(".new")
    beside.write_text("\n".join(lines) + "\n")
    beside.chmod(0o644)
    beside.replace(target)


if __name__ == "__main__":
    main()
