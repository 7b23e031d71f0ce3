"""``/docs`` and ``/redoc``: the API's description to try and to read, from files of this release alone."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from app.errors import NotFoundError

router = APIRouter(include_in_schema=False)
FILES = Path(__file__).parent.parent / "web" / "docs"
_KINDS = {".js": "text/javascript", ".css": "text/css"}
# Inline styles are how both pages lay themselves out; scripts are files of ours only.
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_FILE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "public, max-age=86400"}


@router.get("/docs")
async def docs() -> FileResponse:
    """Swagger UI."""
    return FileResponse(FILES / "swagger.html", headers=_PAGE_HEADERS)


@router.get("/redoc")
async def redoc() -> FileResponse:
    """Redoc."""
    return FileResponse(FILES / "redoc.html", headers=_PAGE_HEADERS)


@router.get("/docs/{name}")
async def file(name: str) -> FileResponse:
    """A script or a style of these pages."""
    path = FILES / name
    # One segment of an address can't climb; what is no script or style is no file of the pages.
    if path.suffix not in _KINDS or path.parent != FILES or not path.is_file():
        raise NotFoundError("There is no such address.")
    return FileResponse(path, media_type=_KINDS[path.suffix], headers=_FILE_HEADERS)
