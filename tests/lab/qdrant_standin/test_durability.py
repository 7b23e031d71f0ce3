"""An acknowledged point outlives SIGKILL; a deleted one stays deleted; one process at a time holds the storage."""

from __future__ import annotations

import signal
import threading

import pytest
from qdrant_client import models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from .process import Standin

PARAMS = models.VectorParams(size=4, distance=models.Distance.DOT)


def create(standin: Standin) -> None:
    standin.client().create_collection("c", vectors_config=PARAMS)


class Writer(threading.Thread):
    """Upserts batches, and deletes one point of each, until the server is gone. Keeps what was acknowledged."""

    def __init__(self, standin: Standin, first: int) -> None:
        super().__init__(daemon=True)
        self.client = standin.client()
        self.first = self.next = first
        self.written: set[int] = set()
        self.deleted: set[int] = set()

    def run(self) -> None:
        try:
            while True:
                ids = list(range(self.next, self.next + 5))
                self.next += 5
                points = [models.PointStruct(id=i, vector=[1.0, 2.0, 3.0, float(i)], payload={"n": i}) for i in ids]
                self.client.upsert("c", points, wait=True)
                self.written |= set(ids)
                self.written.discard(ids[0])  # until its deletion is acknowledged it may be there or not
                self.client.delete("c", models.PointIdsList(points=[ids[0]]), wait=True)
                self.deleted.add(ids[0])
        except (ResponseHandlingException, UnexpectedResponse):
            return


def test_sigkill_under_writes_loses_nothing_acknowledged(fragile: Standin) -> None:
    fragile.start()
    create(fragile)
    written: set[int] = set()
    deleted: set[int] = set()
    first = 0
    for seconds in (0.2, 0.5, 0.9):
        writer = Writer(fragile, first)
        writer.start()
        writer.join(seconds)
        fragile.end(signal.SIGKILL)
        writer.join(20)
        assert writer.written, "nothing was acknowledged before the kill: the test proves nothing"
        written, deleted, first = written | writer.written, deleted | writer.deleted, writer.next + 5
        fragile.start()
        points, _ = fragile.client().scroll("c", limit=1_000_000)
        found = {int(point.id): point.payload for point in points}
        assert written <= set(found)
        assert not deleted & set(found)
        assert all(found[i] == {"n": i} for i in written)


def test_sigterm_flushes_and_ends_cleanly(fragile: Standin) -> None:
    fragile.start()
    create(fragile)
    fragile.client().upsert("c", [models.PointStruct(id=1, vector=[1.0, 2.0, 3.0, 4.0], payload={})], wait=True)
    assert fragile.end(signal.SIGTERM) == 0
    fragile.start()
    assert fragile.client().count("c").count == 1


def test_refused_batch_is_not_replayed(fragile: Standin) -> None:
    """A request that was answered with 400 must not stop the next start or appear after it."""
    fragile.start()
    create(fragile)
    client = fragile.client()
    with pytest.raises(UnexpectedResponse, match="expected dim: 4, got 2"):
        client.upsert("c", [models.PointStruct(id=7, vector=[1.0, 2.0], payload={})], wait=True)
    client.upsert("c", [models.PointStruct(id=8, vector=[1.0, 2.0, 3.0, 4.0], payload={})], wait=True)
    fragile.end(signal.SIGKILL)
    fragile.start()
    assert [point.id for point in fragile.client().scroll("c")[0]] == [8]


def test_second_process_is_refused_and_harms_nothing(fragile: Standin) -> None:
    fragile.start()
    create(fragile)
    client = fragile.client()
    client.upsert("c", [models.PointStruct(id=1, vector=[1.0, 2.0, 3.0, 4.0], payload={})], wait=True)
    second = fragile.spawn()
    _, errors = second.communicate(timeout=20)
    assert second.returncode == 1
    assert b"is in use by another process" in errors
    client.upsert("c", [models.PointStruct(id=2, vector=[1.0, 2.0, 3.0, 4.0], payload={})], wait=True)
    assert fragile.end(signal.SIGTERM) == 0
    fragile.start()
    assert fragile.client().count("c").count == 2
