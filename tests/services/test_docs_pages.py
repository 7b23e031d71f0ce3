"""The API's pages in a real browser that can reach nothing but the service."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.services.test_openapi_fuzz import Target, target

pytestmark = pytest.mark.services
__all__ = ["target"]
# Redoc shows its maker's sign from the maker's site; the page's policy keeps that out, and nothing else is missed.
KNOWN = "cdn.redoc.ly/redoc/logo-mini.svg"


def visit(url: str, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    browser = shutil.which("chromium")
    assert browser is not None, "No chromium: apt-get install chromium"
    command = [
        *(browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1400,1000"),
        *(f"--user-data-dir={directory / 'profile'}", "--enable-logging=stderr", "--disable-background-networking"),
        *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=20000", *options, url),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("docs", ["Ask a question", "/api/v1/collections", "Embed texts", "Authorize"]),
        ("redoc", ["Ask a question", "Make a collection", "Embed texts", "Server-sent events"]),
    ],
)
def test_a_page_is_drawn_without_any_other_server(target: Target, tmp_path: Path, page: str, words: list[str]) -> None:
    seen = visit(f"{target.url}/{page}", tmp_path, "--dump-dom")
    for word in words:
        assert word in seen.stdout, word
    complaints = [line for line in seen.stderr.splitlines() if ":CONSOLE" in line and KNOWN not in line]
    assert complaints == []
    picture = tmp_path / "page.png"
    visit(f"{target.url}/{page}", tmp_path, f"--screenshot={picture}")
    # An empty page of this size has some 5 kB.
    assert picture.stat().st_size > 30_000
