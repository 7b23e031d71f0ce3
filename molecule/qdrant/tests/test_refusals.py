"""What the role refuses, each with its cause; nothing on the host changes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCENARIO = Path(__file__).resolve().parents[1]
ARCHIVE_IS_WRONG = {"qdrant_local_file": str(SCENARIO / "molecule.yml"), "qdrant_version": "1.19.1"}

CASES: list[tuple[str, dict[str, Any], str]] = [
    ("empty key", {"qdrant_api_key": ""}, "qdrant_api_key is empty or not usable"),
    ("same keys", {"qdrant_read_only_api_key": "molecule-full-access-key"}, "equals a full-access key"),
    ("downgrade", {"qdrant_version": "1.18.4"}, "1.18.4 is older"),
    ("two minors up", {"qdrant_version": "1.21.0"}, "more than one minor version"),
    ("no digest", {"qdrant_local_file": "", "qdrant_version": "1.19.7"}, "No SHA-256 is known for Qdrant 1.19.7"),
    ("wrong digest", ARCHIVE_IS_WRONG, "its SHA-256 is"),
    ("wrong type", {"qdrant_http_port": "http"}, "qdrant_http_port"),
]


@pytest.mark.parametrize(("variables", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_refused_with_its_cause(variables: dict[str, Any], message: str) -> None:
    command = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], str(SCENARIO / "refuse.yml")]
    # One message on one line, without the colours that molecule asks for.
    plain = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(  # noqa: S603
        [*command, "-e", json.dumps(variables)],
        env=os.environ | plain,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert message in " ".join(said.split()), said
    assert "molecule-full-access-key" not in said
