"""``anchorage eval``: how good retrieval and answers are, on a set of questions with known answers."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.connection import AsJson, CaFile, Key, KeyFile, api_key_of, trust_of
from app.cli.operate import load_settings
from app.evaluation.run import Run

if TYPE_CHECKING:
    from app.evaluation.run import Report
    from app.evaluation.targets import HttpTarget


def evaluate(
    dataset: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A set in the layout of BEIR.")],
    run: Annotated[list[Run] | None, typer.Option(help="May be repeated; hybrid, dense and sparse if absent.")] = None,
    answers: Annotated[bool, typer.Option(help="Also ask the questions that have known answers.")] = True,
    provider: Annotated[str | None, typer.Option(help="Who writes the answers.")] = None,
    url: Annotated[str | None, typer.Option(help="A running service; if absent, a temporary one.")] = None,
    collection: Annotated[str | None, typer.Option(help="Of the running service; it is filled with the set.")] = None,
    api_key: Key = None,
    api_key_file: KeyFile = None,
    ca_file: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure nDCG@10, recall, MRR and P@1 by strategy, and answers where the set has known ones."""
    from app.evaluation.dataset import load
    from app.evaluation.run import measure

    questions = load(dataset)
    runs = run or [Run.HYBRID, Run.DENSE, Run.SPARSE]
    target = _target(url, collection, api_key, api_key_file, ca_file)

    async def run_all() -> Report:
        async with target as opened:
            return await measure(opened, questions, runs, answers=answers, provider=provider, progress=_progress)

    report = asyncio.run(run_all())
    if sys.stderr.isatty():
        print(end="\r\033[K", file=sys.stderr)  # noqa: T201
    print(json.dumps(report.as_dict()) if as_json else table(report))  # noqa: T201


def _target(
    url: str | None, collection: str | None, key: str | None, key_file: Path | None, ca_file: Path | None
) -> AbstractAsyncContextManager[HttpTarget]:
    from app.evaluation.targets import embedded, running
    from app.telemetry.logs import configure_logs

    if url is None:
        settings = load_settings().model_copy(update={"log_level": "ERROR"})
        configure_logs(settings)
        return embedded(settings)
    return running(url, api_key_of(key, key_file), trust_of(ca_file), collection)


def _progress(what: str, done: int, whole: int) -> None:
    if sys.stderr.isatty():
        print(end=f"\r\033[K{what} {done}/{whole}", file=sys.stderr, flush=True)  # noqa: T201


def table(report: Report) -> str:
    """The figures for people."""
    lines = [f"{report.dataset}: {report.documents} documents"]
    if report.rankings:
        lines.append(f"{'run':<10}{'questions':>10}{'nDCG@10':>9}{'R@10':>8}{'R@100':>8}{'MRR':>8}{'P@1':>8}")
    lines += [
        f"{r.run:<10}{r.questions:>10}{r.ndcg_10:>9.3f}{r.recall_10:>8.3f}{r.recall_100:>8.3f}{r.mrr:>8.3f}{r.p_1:>8.3f}"
        for r in report.rankings
    ]
    if report.answers is not None:
        found = report.answers
        named = {
            "exact match": found.exact_match,
            "F1": found.f1,
            "answer contained": found.contains,
            "citation precision": found.citation_precision,
            "abstained": found.abstained,
            "abstained where there is no answer": found.abstained_rightly,
        }
        said = ", ".join(f"{name} {value:.3f}" for name, value in named.items() if value is not None)
        lines.append(f"answers to {found.questions} questions: {said}")
    return "\n".join(lines)
