"""Questions: what they get, how long each step takes, what the models do and cost."""

from __future__ import annotations

from dashboards.board import Board, Row, host_with
from dashboards.panels import (
    COUNT,
    DOLLARS,
    PER_SECOND,
    RATIO,
    REQUESTS,
    SECONDS,
    About,
    Panel,
    Query,
    lines,
    number,
    states,
)

HERE = 'instance=~"$host"'
CIRCUIT = {0: ("asked", "green"), 1: ("on trial", "orange"), 2: ("left alone", "red")}


def board() -> Board:
    """From the question to the bill."""
    return Board(
        "rag",
        "Questions",
        "Questions by result and provider, the cache, the time of every step, tokens and cost.",
        [
            Row("", [_asked(), _from_cache(), _abstained(), _p95(), _first_word(), _spent()]),
            Row("Questions", [_by_result(), _by_provider(), _cache_over_time(), _abstained_over_time()]),
            Row("Time", [_steps(0.5, "half"), _steps(0.95, "19 of 20"), _embedding(), _retrieval()]),
            Row("Providers", [_requests(), _failing(), _first_words(), _circuits()]),
            Row("Use", [_tokens(), _cost(), _sessions(), _errors()]),
        ],
        [host_with('up{job="app"}')],
    )


def _rate(series: str, by: str = "", labels: str = "", window: str = "$__rate_interval") -> str:
    """The sum of a counter's rates on the chosen hosts."""
    chosen = ",".join(part for part in (HERE, labels) if part)
    return f"sum{f' by ({by}) ' if by else ''}(rate({series}{{{chosen}}}[{window}]))"


def _quantile(q: float, series: str, by: str = "", labels: str = "", window: str = "$__rate_interval") -> str:
    return f"histogram_quantile({q}, {_rate(f'{series}_bucket', f'{by}, le' if by else 'le', labels, window)})"


def _share_from_cache(window: str) -> str:
    hits = _rate("anchorage_queries_total", labels='cache=~"exact|semantic"', window=window)
    asked = _rate("anchorage_queries_total", labels='cache!="bypass"', window=window)
    return f"({hits} or vector(0)) / {asked}"


def _share_abstained(window: str) -> str:
    none = _rate("anchorage_abstentions_total", window=window)
    return f"({none} or vector(0)) / {_rate('anchorage_queries_total', window=window)}"


def _asked() -> Panel:
    return number(
        About("Questions", "Answered, by a model, a quotation or the cache.", REQUESTS),
        Query(_rate("anchorage_queries_total")),
    )


def _from_cache() -> Panel:
    about = About(
        "From the cache",
        "Share of the last hour's questions that needed no model.",
        RATIO,
        runbooks=["CacheHitRateFell"],
        more="redis",
    )
    return number(about, Query(_share_from_cache("1h")))


def _abstained() -> Panel:
    about = About(
        "Without an answer",
        "Share of the last hour's questions to which the documents hold none, and which were told so.",
        RATIO,
    )
    return number(about, Query(_share_abstained("1h")))


def _p95() -> Panel:
    about = About(
        "p95 without generation",
        "19 of 20 questions are faster, without the time in which a model writes. 500 ms are promised.",
        SECONDS,
        alerts=["AnswersSlow", "AnswersVerySlow"],
    )
    return number(
        about, Query(_quantile(0.95, "anchorage_query_step_duration_seconds", labels='step="without_generation"'))
    )


def _first_word() -> Panel:
    about = About(
        "p95 to the first word",
        "From the request to a model until its first word, over all providers, in the last ten minutes.",
        SECONDS,
        alerts=["ProviderSlow"],
    )
    return number(about, Query(_quantile(0.95, "anchorage_provider_first_token_seconds", window="10m")))


def _spent() -> Panel:
    about = About(
        "Spent in 24 hours",
        "By the price table; models without a price are missing.",
        DOLLARS,
        runbooks=["SpendAboveLimit"],
    )
    return number(about, Query(f"sum(increase(anchorage_cost_usd_total{{{HERE}}}[1d])) or vector(0)", now=True))


def _by_result() -> Panel:
    about = About(
        "Questions by cache result", "exact and semantic came from the cache, bypass was told not to ask it.", REQUESTS
    )
    return lines(about, Query(_rate("anchorage_queries_total", "cache"), "{{cache}}"), stacked=True)


def _by_provider() -> Panel:
    about = About(
        "Questions by provider",
        "Who answered. extractive quotes, without a model: when it is not asked for, others failed.",
        REQUESTS,
    )
    return lines(about, Query(_rate("anchorage_queries_total", "provider"), "{{provider}}"), stacked=True)


def _cache_over_time() -> Panel:
    about = About(
        "From the cache",
        "Share of the last hour's questions; the alert compares it with yesterday's.",
        RATIO,
        runbooks=["CacheHitRateFell"],
    )
    return lines(about, Query(_share_from_cache("1h"), "last hour"), Query(_share_from_cache("1d"), "last day"), most=1)


def _abstained_over_time() -> Panel:
    about = About(
        "Without an answer, and rated",
        "Abstentions as a share of questions, and clients' ratings as a share of them.",
        RATIO,
    )
    rated = f"sum by (rating) (increase(anchorage_feedback_total{{{HERE}}}[1h]))"
    asked = f"sum(increase(anchorage_queries_total{{{HERE}}}[1h]))"
    return lines(
        about,
        Query(_share_abstained("1h"), "without an answer"),
        Query(f"{rated} / ignoring (rating) group_left () {asked}", "rated {{rating}}"),
    )


def _steps(q: float, share: str) -> Panel:
    about = About(
        f"p{q * 100:g} of each step",
        f"{share.capitalize()} of questions needed less for it. total is all of them.",
        SECONDS,
    )
    steps = _quantile(q, "anchorage_query_step_duration_seconds", "step", 'step!="without_generation"')
    return lines(about, Query(steps, "{{step}}"))


def _embedding() -> Panel:
    about = About("p95 of one call for vectors", "Questions are one text a call, documents a batch.", SECONDS)
    return lines(about, Query(_quantile(0.95, "anchorage_embedding_duration_seconds", "kind"), "{{kind}}"))


def _retrieval() -> Panel:
    about = About(
        "Retrieval",
        "p95 of the search in Qdrant, of reading the passages in Postgres, and of ranking.",
        SECONDS,
        more="qdrant",
    )
    found = _quantile(0.95, "anchorage_query_step_duration_seconds", "step", 'step=~"search|read|rerank|mmr|expand"')
    return lines(about, Query(found, "{{step}}"))


def _requests() -> Panel:
    about = About(
        "Requests to providers",
        "answered, failed, rejected (the request's fault), abandoned, refused (left alone after failures).",
        REQUESTS,
    )
    return lines(
        about,
        Query(_rate("anchorage_provider_requests_total", "provider, outcome"), "{{provider}} {{outcome}}"),
        stacked=True,
    )


def _failing() -> Panel:
    about = About(
        "Providers that fail",
        "Share of requests of five minutes that failed or were not sent.",
        RATIO,
        alerts=["ProviderFails"],
    )
    everything = _rate("anchorage_provider_requests_total", "provider", 'outcome=~"answered|failed|refused"', "5m")
    failed = _rate("anchorage_provider_requests_total", "provider", 'outcome=~"failed|refused"', "5m")
    # A provider that never failed has no series of failures: it is 0, not missing.
    return lines(about, Query(f"({failed} or 0 * {everything}) / {everything}", "{{provider}}"))


def _first_words() -> Panel:
    about = About(
        "First word",
        "Time from the request to a model until its first word, p50 and p95.",
        SECONDS,
        alerts=["ProviderSlow"],
    )
    series = "anchorage_provider_first_token_seconds"
    return lines(
        about,
        Query(_quantile(0.5, series, "provider", window="10m"), "p50 {{provider}}"),
        Query(_quantile(0.95, series, "provider", window="10m"), "p95 {{provider}}"),
    )


def _circuits() -> Panel:
    about = About(
        "Left alone",
        "Whether a provider is asked, or left alone for a while after failures.",
        COUNT,
        runbooks=["ProviderFails"],
    )
    return states(
        about, Query(f"max by (provider) (anchorage_provider_circuit_state{{{HERE}}})", "{{provider}}"), meaning=CIRCUIT
    )


def _tokens() -> Panel:
    about = About("Tokens", "As the providers counted them.", PER_SECOND)
    return lines(about, Query(_rate("anchorage_tokens_total", "model, kind"), "{{model}} {{kind}}"), stacked=True)


def _cost() -> Panel:
    about = About(
        "Cost of an hour",
        "By model, by the price table. Answers of models without a price are counted beside it.",
        DOLLARS,
    )
    return lines(
        about, Query(f"sum by (model) (increase(anchorage_cost_usd_total{{{HERE}}}[1h]))", "{{model}}"), stacked=True
    )


def _sessions() -> Panel:
    about = About(
        "Sessions and cache entries", "Sessions that go on, and keys of the cache's store.", COUNT, more="redis"
    )
    return lines(
        about,
        Query("max(active_sessions)", "sessions"),
        Query("max(anchorage_cache_entries)", "cache entries"),
    )


def _errors() -> Panel:
    about = About(
        "Errors by kind",
        "The stable code of each problem that a request or a job ended with, those of clients too.",
        PER_SECOND,
    )
    return lines(about, Query(_rate("anchorage_errors_total", "kind"), "{{kind}}"), stacked=True)
