"""Reranking by a cross-encoder on a server: vLLM, llama.cpp, Text Embeddings Inference, Jina, Cohere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import httpx

from app.errors import ProviderError
from app.settings import RerankForm

NAME = "reranker"


class HttpReranker:
    """One request a question.

    ``JINA`` is what most servers speak at ``/v1/rerank``: ``{model, query, documents}`` answered by ``{results:
    [{index, relevance_score}]}``. ``TEI`` is Text Embeddings Inference's own: ``{query, texts}`` answered by ``[{index,
    score}]``.
    """

    def __init__(
        self,
        url: str,
        model: str,
        form: RerankForm = RerankForm.JINA,
        api_key: str | None = None,
        timeout_s: float = 2.0,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout_s)
        self._url = url
        self._form = form
        self._timeout_s = timeout_s
        self.model = model

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """Ask the server.

        Raises:
            ProviderError: it does not answer in time, refuses, or says something else than one score a text.
        """
        sent: dict[str, Any] = {"query": question}
        if self._form is RerankForm.JINA:
            sent |= {"model": self.model, "documents": list(texts), "top_n": len(texts), "return_documents": False}
        else:
            sent |= {"texts": list(texts), "truncate": True}
        try:
            response = await self._client.post(self._url, json=sent)
            response.raise_for_status()
            return _read(response.json(), len(texts))
        except httpx.TimeoutException as error:
            raise _failure(f"did not answer within {self._timeout_s:g} s; see RERANK_TIMEOUT and its load") from error
        except httpx.HTTPStatusError as error:
            raise _failure(
                f"refused (HTTP {error.response.status_code}); check RERANK_URL, RERANK_MODEL and RERANK_API_KEY"
            ) from error
        except httpx.HTTPError as error:
            raise _failure("can't be reached; check RERANK_URL, and that it runs") from error
        except (ValueError, KeyError, TypeError) as error:
            raise _failure("gave an answer that can't be read; check RERANK_URL and RERANK_FORM") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _read(answer: Any, count: int) -> list[float]:
    """The scores in the order of the texts. Raises ValueError, KeyError or TypeError on any other answer."""
    results = answer["results"] if isinstance(answer, dict) else answer
    found: dict[int, float] = {}
    for result in results:
        found[int(result["index"])] = float(
            result["relevance_score"] if "relevance_score" in result else result["score"]
        )
    if sorted(found) != list(range(count)) or not all(map(math.isfinite, found.values())):
        raise ValueError("not one score a text")
    return [found[index] for index in range(count)]


def _failure(cause: str) -> ProviderError:
    return ProviderError(NAME, f"The reranker {cause}.")
