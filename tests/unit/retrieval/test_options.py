"""A request's wishes come first, then the collection's settings, then the service's."""

from __future__ import annotations

from app.db.collection_settings import CollectionSettings
from app.retrieval.options import RetrievalOptions, RetrievalWishes
from app.settings import Strategy

SERVICE = RetrievalOptions(strategy=Strategy.HYBRID, top_k=5, threshold=0.3)
COLLECTION = CollectionSettings(strategy=Strategy.SPARSE, top_k=8, threshold=0.5, rerank=True)


def test_who_is_asked_first() -> None:
    nobody = RetrievalWishes().options(SERVICE, CollectionSettings(), 20)
    collection = RetrievalWishes().options(SERVICE, COLLECTION, 20)
    request = RetrievalWishes(strategy=Strategy.DENSE, threshold=0.0, rerank=False).options(SERVICE, COLLECTION, 20)
    assert nobody == SERVICE
    assert (collection.strategy, collection.top_k, collection.threshold, collection.rerank) == ("sparse", 8, 0.5, True)
    assert (request.strategy, request.top_k, request.threshold, request.rerank) == ("dense", 8, 0.0, False)


def test_nobody_gets_more_than_the_service_allows() -> None:
    assert RetrievalWishes(top_k=100).options(SERVICE, COLLECTION, 20).top_k == 20
