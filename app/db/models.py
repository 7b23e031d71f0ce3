"""The schema. Every row belongs to a tenant; a chunk is visible only through its document's current version."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, always in UTC; SQLite forgets the zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment without a time zone can't be stored")
        return value if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None or value.tzinfo is not None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        UUID: Uuid(),
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
    }


class Tenant(Base):
    """Whose data it is: the wall that nothing crosses."""

    __tablename__ = "tenants"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    created_at: Mapped[datetime]


class ApiKey(Base):
    """A credential: shown once, kept as a keyed hash, looked up by its prefix."""

    __tablename__ = "api_keys"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16), unique=True)
    key_hash: Mapped[str] = mapped_column(String(64))
    # Which SECRET_KEY the hash was made under; None: before there was this column.
    secret_id: Mapped[str | None] = mapped_column(String(16))
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Collection(Base):
    """A set of documents that is asked together.

    ``epoch`` is raised by every transaction that makes a version visible or gone: equal epochs mean
    that a fresh retrieval would see the same documents. ``embedding`` is the identity of its vectors.
    """

    __tablename__ = "collections"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(100))
    epoch: Mapped[int] = mapped_column(BigInteger, default=0)
    embedding: Mapped[str] = mapped_column(String(200))
    # See CollectionSettings.
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    created_at: Mapped[datetime]


class Document(Base):
    """What a content owner uploaded; ``current_version_id`` is what answers see, or nothing yet."""

    __tablename__ = "documents"
    __table_args__ = (Index("ix_documents_listing", "tenant_id", "collection_id", "created_at", "id"),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    collection_id: Mapped[UUID] = mapped_column(ForeignKey("collections.id"))
    title: Mapped[str] = mapped_column(String(500))
    source: Mapped[str] = mapped_column(String(2000))
    current_version_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class VersionState(StrEnum):
    """``accepted`` becomes ``ready`` or ``failed``; ``ready`` becomes ``superseded`` by a newer one."""

    ACCEPTED = "accepted"
    READY = "ready"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class DocumentVersion(Base):
    """The accepted bytes, committed before the upload is answered.

    ``attributes`` is the owner's metadata, which filters look at. ``parsed`` is the first stage's outcome (JSON,
    compressed), kept until the second stage is done. ``title`` is what its chunks are embedded with.
    """

    __tablename__ = "document_versions"
    __table_args__ = (
        UniqueConstraint("document_id", "number"),
        Index("ix_document_versions_content", "collection_id", "content_hash"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    collection_id: Mapped[UUID] = mapped_column(ForeignKey("collections.id"))
    document_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(20), default=VersionState.ACCEPTED)
    media_type: Mapped[str] = mapped_column(String(100))
    content_hash: Mapped[str] = mapped_column(String(64))
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    attributes: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict, server_default=text("'{}'"))
    parsed: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    title: Mapped[str | None] = mapped_column(String(500))
    chunk_count: Mapped[int] = mapped_column(default=0)
    error_code: Mapped[str | None] = mapped_column(String(50))
    error_detail: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    ready_at: Mapped[datetime | None]


class Chunk(Base):
    """A passage of one version. Its id follows from version and position, so indexing twice is once.

    ``embedding`` holds float32, little endian, of the text whose hash (with the model's identity) is
    ``embedding_hash``: the same text is embedded once, and the index can be rebuilt from here.
    """

    __tablename__ = "chunks"
    __table_args__ = (
        UniqueConstraint("version_id", "position"),
        Index("ix_chunks_embedding_hash", "tenant_id", "embedding_hash"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    document_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    version_id: Mapped[UUID] = mapped_column(ForeignKey("document_versions.id", ondelete="CASCADE"))
    position: Mapped[int]
    text: Mapped[str] = mapped_column(Text)
    heading_path: Mapped[list[str]]
    page: Mapped[int | None]
    token_count: Mapped[int]
    embedding_hash: Mapped[str | None] = mapped_column(String(64))
    embedding: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)


class JobState(StrEnum):
    """``queued`` → ``running`` → ``succeeded``, ``failed`` or ``cancelled``; a lost worker's job is taken over."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(StrEnum):
    """What a worker does: index a version, or remove the points of what is gone."""

    INDEX = "index"
    REMOVE = "remove"


class Job(Base):
    """Work that survives its worker. ``lease_token`` fences: only its holder may write progress.

    No foreign key on the document: a removal outlives the rows that it cleans up after. ``progress`` holds, by
    stage, how many of how many parts are done.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_due", "state", "run_at"),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    kind: Mapped[str] = mapped_column(String(20))
    document_id: Mapped[UUID] = mapped_column(index=True)
    version_id: Mapped[UUID | None]
    state: Mapped[str] = mapped_column(String(20), default=JobState.QUEUED)
    stage: Mapped[str] = mapped_column(String(20), default="accepted")
    attempts: Mapped[int] = mapped_column(default=0)
    run_at: Mapped[datetime]
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False, server_default=false())
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    error_code: Mapped[str | None] = mapped_column(String(50))
    error_detail: Mapped[str | None] = mapped_column(Text)
    # The request that made it, and where its trace goes on; None: before there were these columns.
    request_id: Mapped[str | None] = mapped_column(String(64))
    traceparent: Mapped[str | None] = mapped_column(String(55))
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class QueryLogEntry(Base):
    """One answered question, for operators and later evaluation; off by ``ENABLE_QUERY_LOGGING=false``."""

    __tablename__ = "query_log"
    __table_args__ = (Index("ix_query_log_time", "tenant_id", "created_at"),)
    request_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    collection_id: Mapped[UUID]
    session_id: Mapped[UUID | None]
    query: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(Text, default="", server_default=text("''"))
    chunk_ids: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'"))
    grounded: Mapped[bool]
    provider: Mapped[str] = mapped_column(String(50))
    model: Mapped[str] = mapped_column(String(200), default="", server_default=text("''"))
    prompt_tokens: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    completion_tokens: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    cost_usd: Mapped[float] = mapped_column(Double, default=0.0, server_default=text("0"))
    cache_status: Mapped[str] = mapped_column(String(20))
    timings_ms: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Session(Base):
    """A conversation. It ends when nothing was asked in it for ``SESSION_TIMEOUT_HOURS``."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_listing", "tenant_id", "created_at", "id"),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    collection_id: Mapped[UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Turn(Base):
    """One question of a conversation and its answer; ``standalone`` is the question as it was looked up."""

    __tablename__ = "turns"
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    request_id: Mapped[str] = mapped_column(String(64))
    question: Mapped[str] = mapped_column(Text)
    standalone: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(Text)
    grounded: Mapped[bool]
    citations: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    created_at: Mapped[datetime]


class Feedback(Base):
    """What a reader thought of an answer; said again, it replaces. ``rating`` is 1 or -1."""

    __tablename__ = "feedback"
    __table_args__ = (
        UniqueConstraint("tenant_id", "request_id"),
        Index("ix_feedback_listing", "tenant_id", "created_at", "id"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    request_id: Mapped[str] = mapped_column(String(64))
    rating: Mapped[int]
    reason: Mapped[str | None] = mapped_column(Text)
    corrected_answer: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
