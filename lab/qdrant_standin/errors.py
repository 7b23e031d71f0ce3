"""Errors of the REST API and how an engine failure becomes one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class ApiError(Exception):
    """A request that can't be answered: HTTP status and the text of `status.error`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def wrong_input(message: str) -> ApiError:
    return ApiError(400, f"Wrong input: {message}")


def format_error(message: str) -> ApiError:
    return ApiError(400, f"Format error in JSON body: {message}")


def not_found(message: str) -> ApiError:
    return ApiError(404, f"Not found: {message}")


def no_collection(name: str) -> ApiError:
    return not_found(f"Collection `{name}` doesn't exist!")


_MISSING_POINT = re.compile(r"No point with id \S+")
_INTERNAL = re.compile(
    r"service (internal|runtime)|IO error|no space left|out of (disk|memory)|\bWAL\b|Tracker", re.IGNORECASE
)


@contextmanager
def engine_call() -> Iterator[None]:
    """Turn the engine's exceptions into API errors.

    The engine raises plain `Exception` with a message for its own errors and ValueError/TypeError/OverflowError for
    arguments it can't convert. A fault of the engine itself (disk, WAL) stays a 500; it is never taken for bad input.
    """
    try:
        yield
    except ApiError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise format_error(str(error).splitlines()[0]) from error
    except OSError:
        raise
    except Exception as error:
        text = str(error)
        if _MISSING_POINT.search(text):
            raise not_found(text) from error
        if _INTERNAL.search(text):
            raise ApiError(500, f"Service internal error: {text}") from error
        raise wrong_input(text) from error
