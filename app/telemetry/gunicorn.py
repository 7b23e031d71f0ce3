"""gunicorn's own lines in the form of all others, its master's too."""

from __future__ import annotations

import contextlib

from gunicorn.config import Config
from gunicorn.glogging import Logger
from pydantic import ValidationError

from app.settings import Settings
from app.telemetry.logs import configure_logs


class JsonLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger without handlers of its own."""

    def setup(self, cfg: Config) -> None:
        """Called when the master starts, and again after it reads its configuration anew."""
        super().setup(cfg)
        # Where a setting is wrong the workers say which, and end.
        with contextlib.suppress(ValidationError):
            configure_logs(Settings())
