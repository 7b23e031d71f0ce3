"""What can go wrong, in the words of the domain.

Each error has a stable ``code`` for programs, and a message for people that names the cause and
the cure. ``app.api.errors`` turns them into RFC 9457 problems; nothing here knows HTTP.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Stable codes of the HTTP contract; documented in ``docs/api.md``."""

    VALIDATION_FAILED = "validation_failed"
    AUTHENTICATION_REQUIRED = "authentication_required"
    PERMISSION_DENIED = "permission_denied"
    NOT_FOUND = "not_found"
    MODEL_NOT_FOUND = "model_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    DOCUMENT_EMPTY = "document_empty"
    DOCUMENT_UNREADABLE = "document_unreadable"
    DOCUMENT_NOT_UTF8 = "document_not_utf8"
    CANCELLED = "cancelled"
    URL_FORBIDDEN = "url_forbidden"
    URL_UNREACHABLE = "url_unreachable"
    STREAM_STOPPED = "stream_stopped"
    RATE_LIMITED = "rate_limited"
    DEPENDENCY_UNAVAILABLE = "dependency_unavailable"
    PROVIDER_FAILED = "provider_failed"
    INTERNAL_ERROR = "internal_error"


class AnchorageError(Exception):
    """Base of every expected failure: ``code`` for programs, ``detail`` for people."""

    code: ErrorCode = ErrorCode.INTERNAL_ERROR

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ConfigurationError(AnchorageError):
    """The service must not start: a setting is missing or contradicts the data."""


class NotFoundError(AnchorageError):
    """No such thing for this tenant (or it belongs to somebody else: the same answer)."""

    code = ErrorCode.NOT_FOUND


class ModelNotFoundError(AnchorageError):
    """A model's name stands for no collection, or for a provider that there is not."""

    code = ErrorCode.MODEL_NOT_FOUND

    def __init__(self, model: str) -> None:
        super().__init__(f"There is no model {model[:100]!r}. GET /v1/models lists those there are.")


class AuthenticationError(AnchorageError):
    """No credential, or one that is unknown, expired or revoked."""

    code = ErrorCode.AUTHENTICATION_REQUIRED


class PermissionDeniedError(AnchorageError):
    """The credential is good, its scopes don't allow this."""

    code = ErrorCode.PERMISSION_DENIED


class InvalidRequestError(AnchorageError):
    """What was asked contradicts itself or can't be done as it stands."""

    code = ErrorCode.VALIDATION_FAILED


class UrlError(AnchorageError):
    """A document could not be fetched from its address: ``url_forbidden`` or ``url_unreachable``."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class ConflictError(AnchorageError):
    """The request contradicts the present state."""

    code = ErrorCode.CONFLICT


class PayloadTooLargeError(AnchorageError):
    """More bytes than the limit."""

    code = ErrorCode.PAYLOAD_TOO_LARGE


class UnsupportedMediaTypeError(AnchorageError):
    """A content type that no parser takes."""

    code = ErrorCode.UNSUPPORTED_MEDIA_TYPE


class DocumentError(AnchorageError):
    """The document itself can't be used; trying again won't help."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class DependencyUnavailableError(AnchorageError):
    """A service this one stands on does not answer; ``dependency`` names it."""

    code = ErrorCode.DEPENDENCY_UNAVAILABLE

    def __init__(self, dependency: str, detail: str, retry_after_s: int = 5) -> None:
        super().__init__(detail)
        self.dependency = dependency
        self.retry_after_s = retry_after_s


class ProviderError(DependencyUnavailableError):
    """A model provider failed or timed out. ``of_request``: another request might well have been answered."""

    code = ErrorCode.PROVIDER_FAILED

    def __init__(self, dependency: str, detail: str, retry_after_s: int = 5, *, of_request: bool = False) -> None:
        super().__init__(dependency, detail, retry_after_s)
        self.of_request = of_request


class PromptTooLongError(ProviderError):
    """More tokens than the model reads; it was refused before anything was written."""

    def __init__(self, dependency: str, detail: str) -> None:
        super().__init__(dependency, detail, of_request=True)


class ProviderNotConfiguredError(AnchorageError):
    """A question asked for a provider that this service has no settings for."""

    code = ErrorCode.VALIDATION_FAILED
