"""The whole API under generated requests: no 5xx, and no response that its description does not foresee."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.auth.keys import Scope
from app.db.bootstrap import DEFAULT_TENANT_ID
from app.main import create_app
from app.services import Services
from app.settings import Settings

pytestmark = pytest.mark.services
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 15


@dataclass(frozen=True)
class Target:
    """A service in embedded mode on a real port, in a thread of its own."""

    url: str
    key: str


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("fuzz")
    app = create_app(Settings(data_dir=directory, job_poll_seconds=0.05, url_fetch_timeout=1))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    found: list[str] = []
    ready = threading.Event()

    async def serve() -> None:
        serving = asyncio.create_task(server.serve([listener]))
        while True:
            if server.started:
                break
            await asyncio.sleep(0.02)
        services: Services = app.state.services
        found.append(await services.keyring.create(DEFAULT_TENANT_ID, "fuzz", frozenset(Scope)))
        ready.set()
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(60)
    yield Target(f"http://127.0.0.1:{listener.getsockname()[1]}", found[0])
    server.should_exit = True
    thread.join(30)


@pytest.fixture(scope="module")
def operations(target: Target) -> list[Any]:
    """Every operation of the description, which is valid itself."""
    found = list(schemathesis.openapi.from_url(f"{target.url}/openapi.json").get_all_operations())
    whole = [operation.ok() for operation in found if isinstance(operation, Ok)]
    assert len(whole) == len(found)
    return whole


def test_every_answer_is_foreseen(target: Target, operations: list[Any]) -> None:
    headers = {"Authorization": f"Bearer {target.key}"}
    found: dict[str, str] = {}
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _fuzz(operation, mode, headers)
            except (Failure, FailureGroup) as failure:
                found[f"{operation.label} {mode.name}"] = _told(failure)
            except (Unsatisfiable, SkipTest):
                continue  # nothing about it can be wrong
    assert found == {}


def test_the_fuzzer_sees_the_whole_api(operations: list[Any]) -> None:
    assert len(operations) >= 25


def _fuzz(operation: Any, mode: GenerationMode, headers: dict[str, str]) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        case.validate_response(case.call(headers=headers, timeout=20), checks=CHECKS)

    ask()


def _told(failure: BaseException) -> str:
    inner = failure.exceptions if isinstance(failure, BaseExceptionGroup) else [failure]
    return "\n".join(str(item) for item in inner)[:3000]
