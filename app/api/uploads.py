"""What a request brings in: files of a form, text as JSON, or an address to fetch from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, Json, StringConstraints, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from app.api.fields import NO_NUL, Name, Source, Title
from app.api.metadata import Metadata
from app.errors import AnchorageError, UnsupportedMediaTypeError
from app.ingest.accept import Upload
from app.ingest.fetch import MAX_URL, Fetcher

Url = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_URL, pattern=NO_NUL)]
FORM_FIELDS = 8


class TextUpload(BaseModel):
    """A document as JSON."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"title": "Opening hours", "text": "We open at nine.", "media_type": "text/markdown"}]
        },
    )
    text: str
    title: Title
    media_type: str = Field(
        "text/plain",
        max_length=100,
        description="Any textual type, such as text/markdown or text/csv.",
    )
    source: Source | None = Field(None, description="Where it came from; the title if absent.")
    collection: Name | None = None
    metadata: Metadata | None = None


class UrlUpload(BaseModel):
    """A document that the service fetches. Its source is the address."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://example.org/manual.pdf", "metadata": {"year": 2026}}]},
    )
    url: Url
    title: Title | None = None
    collection: Name | None = None
    metadata: Metadata | None = None


class FormFields(BaseModel):
    """The fields beside ``file`` of a multipart upload."""

    model_config = ConfigDict(extra="forbid")
    title: Title | None = None
    source: Source | None = None
    collection: Name | None = None
    metadata: Json[Metadata] | None = None


def upload_body(*, several: bool) -> dict[str, Any]:
    """How the description of a route names what it takes."""
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    if several:
        file = {"type": "array", "items": file, "minItems": 1, "description": "Files, or a zip of files."}
    json_schemas = {model.__name__: model.model_json_schema() for model in (TextUpload, UrlUpload)}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": list(json_schemas.values())},
                    "examples": {name: {"value": schema["examples"][0]} for name, schema in json_schemas.items()},
                },
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "additionalProperties": False,
                        "properties": {
                            "file": file,
                            "title": {"type": "string", "maxLength": 500},
                            "source": {"type": "string", "maxLength": 2000},
                            "collection": {"type": "string", "maxLength": 100},
                            "metadata": {"type": "string", "description": "A JSON object."},
                        },
                    },
                    "example": {"file": ["harbour.md"] if several else "harbour.md", "metadata": '{"year": 2026}'},
                },
            },
        }
    }


async def uploads_of(request: Request, fetcher: Fetcher, max_files: int) -> Sequence[Upload]:
    """What the request brings, whole: one document or archive, or several files.

    Raises:
        RequestValidationError, UnsupportedMediaTypeError: it brings nothing that is taken.
        UrlError, PayloadTooLargeError: the address gives no document.
    """
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type == "application/json":
        return [await _json_upload(await request.body(), fetcher)]
    if content_type == "multipart/form-data":
        return await _file_uploads(request, max_files)
    raise UnsupportedMediaTypeError(
        f"Send multipart/form-data with a field `file`, or application/json; not {content_type[:80] or 'nothing'}."
    )


async def _json_upload(body: bytes, fetcher: Fetcher) -> Upload:
    try:
        sent = _Json.model_validate_json(body)
        if sent.url is not None:
            address = UrlUpload.model_validate_json(body)
            return await _fetched(address, fetcher)
        text = TextUpload.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
    try:
        content = text.text.encode()
    except UnicodeEncodeError:
        raise _invalid("text", "contains half of a surrogate pair, which is no character") from None
    return Upload(
        content,
        text.source or text.title,
        f"{text.media_type}; charset=utf-8",
        text.title,
        text.collection,
        text.metadata,
    )


class _Json(BaseModel):
    """Only to see which of the two it is."""

    url: Any = None


async def _fetched(sent: UrlUpload, fetcher: Fetcher) -> Upload:
    found = await fetcher.fetch(sent.url)
    return Upload(found.content, found.url, found.content_type, sent.title, sent.collection, sent.metadata)


async def _file_uploads(request: Request, max_files: int) -> list[Upload]:
    try:
        form = await request.form(max_files=max_files, max_fields=FORM_FIELDS)
    except AnchorageError:
        raise
    except (MultiPartException, KeyError) as error:
        raise _invalid("body", f"is not valid multipart/form-data: {error}") from None
    async with AsyncExitStack() as stack:
        stack.push_async_callback(form.close)
        files = form.getlist("file")
        if not files:
            raise _invalid("file", "is missing: send the document as a file in this field")
        fields = {name: value for name, value in form.multi_items() if name != "file"}
        try:
            sent = FormFields.model_validate(fields)
        except ValidationError as error:
            # It is a field that is no JSON, not the body.
            raise RequestValidationError(
                [item | {"type": "value_error"} for item in map(dict, error.errors(include_url=False))]
            ) from None
        if len(files) > 1 and (sent.title or sent.source):
            raise _invalid("title" if sent.title else "source", "is for one file; several have each their own name")
        return [await _file_upload(file, sent) for file in files]


async def _file_upload(file: UploadFile | str, sent: FormFields) -> Upload:
    if not isinstance(file, UploadFile):
        raise _invalid("file", "is a plain field: send the document as a file")
    name = (file.filename or "document")[:2000]
    if "\x00" in name:
        raise _invalid("file", "has a NUL character in its name")
    return Upload(await file.read(), sent.source or name, file.content_type, sent.title, sent.collection, sent.metadata)


def _invalid(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": message}])
