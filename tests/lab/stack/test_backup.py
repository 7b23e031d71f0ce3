"""`site.yml` leaves a good backup; `playbooks/restore.yml` brings a document back, and the service answers from it."""

from __future__ import annotations

import time

import pytest

from tests.lab.stack.conftest import Stack
from tests.lab.stack.test_stack import add

pytestmark = pytest.mark.lab
FERRY = "# Ferry\n\nThe ferry to Hallig Sanderoog leaves at seven in the morning and costs nine euros."
QUESTION = {"query": "When does the ferry to Hallig Sanderoog leave?"}


def test_a_document_that_was_deleted_comes_back_with_its_answers(stack: Stack) -> None:
    with stack.client() as client:
        document = add(client, FERRY, "Ferry")
        assert client.post("/api/v1/query", json=QUESTION).json()["grounded"]
        moment = stack.ask("date --utc '+%F %T.%N'").strip()[:-3]
        time.sleep(1)
        assert client.delete(f"/api/v1/documents/{document}").is_success
        assert client.get(f"/api/v1/documents/{document}").status_code == 404
    done = stack.play("playbooks/restore.yml", "-e", f'{{"at": "{moment}", "confirm": "{stack.host.name}"}}')
    assert done.returncode == 0, done.stdout[-4000:]
    assert "LOST: all that was written to the database after" in done.stdout
    with stack.client() as client:
        answer = client.post("/api/v1/query", json=QUESTION).json()
    assert answer["citations"][0]["document_id"] == document
    assert answer["cache"]["status"] != "exact"


def test_the_drill_of_the_whole_service_is_good(stack: Stack) -> None:
    done = stack.play("playbooks/drill.yml")
    assert done.returncode == 0, done.stdout[-4000:]
    report = stack.ask("cat /var/log/anchorage/drill.txt")
    assert "UTC: good" in report
    assert "pg_amcheck finds nothing" in report
    assert "anchorage_drill_success 1" in stack.ask("cat /var/lib/prometheus/node-exporter/anchorage_drill.prom")
