"""Failures below ``/v1`` in OpenAI's shape: its clients look for ``error.message`` and ``error.code``."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

PREFIX = "/v1/"
_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    410: "not_found_error",
    429: "rate_limit_error",
}


class OpenAIErrorBody(BaseModel):
    """``code`` is the service's own stable code."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """An error as OpenAI's clients read it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "message": "There is no model 'manual'.",
                        "type": "not_found_error",
                        "param": "model",
                        "code": "model_not_found",
                    }
                }
            ]
        }
    )
    error: OpenAIErrorBody


OPENAI_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAIError, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 403, 404, 413, 415, 422, 500, 503)
}


def error_body(problem: dict[str, Any]) -> dict[str, Any]:
    """The error of a problem (RFC 9457), as a value."""
    status, errors = int(problem["status"]), problem.get("errors") or []
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    param = "model" if problem["code"] == "model_not_found" else errors[0]["field"] if errors else None
    return {"error": {"message": problem["detail"], "type": kind, "param": param, "code": problem["code"]}}


def as_openai(response: JSONResponse) -> JSONResponse:
    """A problem's response, said in OpenAI's shape; status and headers stay."""
    headers = {
        name: value
        for name, value in response.headers.items()
        if name.lower() not in ("content-length", "content-type")
    }
    return JSONResponse(error_body(json.loads(bytes(response.body))), response.status_code, headers)
