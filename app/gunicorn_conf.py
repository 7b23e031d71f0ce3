"""gunicorn's configuration: ``gunicorn --config python:app.gunicorn_conf "app.main:from_environment()"``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from app.telemetry.exemplars import file_of

bind = os.environ.get("BIND", "127.0.0.1:8001")
workers = int(os.environ.get("UVICORN_WORKERS", "2"))
worker_class = "uvicorn_worker.UvicornWorker"
# Each worker opens its own connections and engine: nothing of that survives a fork.
preload_app = False
timeout = 60
graceful_timeout = 30
keepalive = 75
forwarded_allow_ips = "127.0.0.1,::1"
accesslog = None
errorlog = "-"
logger_class = "app.telemetry.gunicorn.JsonLogger"


def child_exit(server: Any, worker: Any) -> None:
    """A gauge of a worker that is gone must not be summed any more."""
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if directory is not None:
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
        file_of(Path(directory), worker.pid).unlink(missing_ok=True)
