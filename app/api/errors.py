"""One shape for every error: RFC 9457 ``application/problem+json`` with a stable code and the request's id."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

from app.api.openai_errors import PREFIX, as_openai
from app.errors import AnchorageError, DependencyUnavailableError, ErrorCode

log = structlog.get_logger(__name__)
MEDIA_TYPE = "application/problem+json"
NOT_JSON = "The body is not valid JSON in UTF-8."
_STATUS = {
    ErrorCode.VALIDATION_FAILED: 422,
    ErrorCode.AUTHENTICATION_REQUIRED: 401,
    ErrorCode.PERMISSION_DENIED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.MODEL_NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.CONFLICT: 409,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.DOCUMENT_EMPTY: 422,
    ErrorCode.DOCUMENT_UNREADABLE: 422,
    ErrorCode.DOCUMENT_NOT_UTF8: 422,
    ErrorCode.CANCELLED: 409,
    ErrorCode.URL_FORBIDDEN: 422,
    ErrorCode.URL_UNREACHABLE: 422,
    ErrorCode.STREAM_STOPPED: 410,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.DEPENDENCY_UNAVAILABLE: 503,
    ErrorCode.PROVIDER_FAILED: 503,
    ErrorCode.INTERNAL_ERROR: 500,
}
_CODE_OF_STATUS = {
    400: ErrorCode.VALIDATION_FAILED,
    401: ErrorCode.AUTHENTICATION_REQUIRED,
    403: ErrorCode.PERMISSION_DENIED,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    413: ErrorCode.PAYLOAD_TOO_LARGE,
    415: ErrorCode.UNSUPPORTED_MEDIA_TYPE,
}


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, by RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "code": "not_found",
                    "detail": "There is no collection 'manuals'.",
                    "request_id": "4f0c1c0e9b7d4e0f",
                }
            ]
        }
    )
    type: str = "about:blank"
    title: str
    status: int
    code: ErrorCode
    detail: str
    request_id: str
    dependency: str | None = None
    errors: list[FieldProblem] | None = Field(None, description="One entry a wrong field.")


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How the description of a route names its failures."""
    return {
        status: {"content": {MEDIA_TYPE: {"schema": _PROBLEM}}, "description": HTTPStatus(status).phrase}
        for status in statuses
    }


_PROBLEM = {"$ref": "#/components/schemas/Problem"}
PROBLEM_RESPONSES = problem_responses(400, 401, 403, 404, 413, 415, 422, 500, 503)


def problem_of(request_id: str, error: AnchorageError) -> Problem:
    """An expected failure as a value: of one among several."""
    status = _STATUS[error.code]
    return Problem(
        title=HTTPStatus(status).phrase, status=status, code=error.code, detail=error.detail, request_id=request_id
    )


def problem(
    request_id: str,
    code: ErrorCode,
    detail: str,
    *,
    status: int | None = None,
    headers: dict[str, str] | None = None,
    dependency: str | None = None,
    errors: list[FieldProblem] | None = None,
) -> JSONResponse:
    """Build the response."""
    status = status or _STATUS[code]
    body = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        request_id=request_id,
        dependency=dependency,
        errors=errors,
    )
    return JSONResponse(body.model_dump(mode="json", exclude_none=True), status, headers, MEDIA_TYPE)


def of_error(request_id: str, error: AnchorageError) -> JSONResponse:
    """The response of an expected failure."""
    headers: dict[str, str] = {}
    dependency = None
    if isinstance(error, DependencyUnavailableError):
        dependency = error.dependency
        headers["Retry-After"] = str(error.retry_after_s)
    if error.code is ErrorCode.AUTHENTICATION_REQUIRED:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(request_id, error.code, error.detail, headers=headers, dependency=dependency)


def of_unexpected(request_id: str) -> JSONResponse:
    """The response of a bug; what happened is in the log, under the request's id."""
    detail = "Something went wrong here. Report it with the request_id; the log has the details under it."
    return problem(request_id, ErrorCode.INTERNAL_ERROR, detail)


def field_problems(errors: Sequence[Any]) -> list[FieldProblem]:
    """Pydantic's errors, one a field, without echoing what was sent."""
    return [
        FieldProblem(
            field=".".join(str(part) for part in error["loc"] if part != "body") or "body", message=error["msg"]
        )
        for error in errors
    ]


def _no_json(request: Request, error: RequestValidationError) -> bool:
    """Whether a route that takes JSON got a body of another type: then it is a text to its model, not an object."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    as_text = any(item["loc"] == ("body",) and isinstance(item["input"], bytes | str) for item in error.errors())
    return as_text and kind != "application/json" and not kind.endswith("+json")


def shaped(path: str, response: JSONResponse) -> JSONResponse:
    """As clients of that address read errors: problems, but below ``/v1`` OpenAI's own form."""
    return as_openai(response) if path.startswith(PREFIX) else response


def note(scope: Scope, code: ErrorCode) -> None:
    """Remember what kind of error the request ended with, for its log line and the metrics."""
    scope.setdefault("state", {})["error_code"] = code


def error_of(scope: Scope) -> ErrorCode | None:
    """What was noted."""
    code: ErrorCode | None = scope["state"].get("error_code")
    return code


def request_id_of(request: Request) -> str:
    """The id that the middleware gave."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def install(app: FastAPI) -> None:
    """Make every failure of a route a problem."""

    @app.exception_handler(AnchorageError)
    async def _expected(request: Request, error: AnchorageError) -> JSONResponse:
        if _STATUS[error.code] >= 500:
            log.warning(
                "request.not_served", code=error.code, detail=error.detail, cause=type(error.__cause__).__name__
            )
        note(request.scope, error.code)
        return shaped(request.url.path, of_error(request_id_of(request), error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        if _no_json(request, error):
            detail = "Send the body as JSON, with the header Content-Type: application/json."
            note(request.scope, ErrorCode.UNSUPPORTED_MEDIA_TYPE)
            return shaped(request.url.path, problem(request_id_of(request), ErrorCode.UNSUPPORTED_MEDIA_TYPE, detail))
        note(request.scope, ErrorCode.VALIDATION_FAILED)
        problems = field_problems(error.errors())
        broken = any(item["type"] == "json_invalid" for item in error.errors())
        detail = NOT_JSON if broken else "; ".join(f"{p.field}: {p.message}" for p in problems[:5])
        status = 400 if broken else 422
        answer = problem(request_id_of(request), ErrorCode.VALIDATION_FAILED, detail, status=status, errors=problems)
        return shaped(request.url.path, answer)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, AnchorageError):  # raised while the body was read
            note(request.scope, error.__cause__.code)
            return shaped(request.url.path, of_error(request_id_of(request), error.__cause__))
        code = _CODE_OF_STATUS.get(error.status_code, ErrorCode.VALIDATION_FAILED)
        note(request.scope, code)
        details = {404: "There is no such address.", 405: "This address doesn't take that method."}
        detail = details.get(error.status_code, str(error.detail))
        if isinstance(error.__cause__, (ValueError, RecursionError)):  # raised while the body was read as JSON
            detail = NOT_JSON
        headers = dict(error.headers) if error.headers else None
        answer = problem(request_id_of(request), code, detail, status=error.status_code, headers=headers)
        return shaped(request.url.path, answer)
