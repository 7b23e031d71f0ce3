"""Every environment variable of the service, typed, in one place.

A secret can also come from a file: a systemd credential in ``$CREDENTIALS_DIRECTORY`` named like
the variable in lower case (``secret_key``, ``redis_password`` ...). In production it does.
"""

from __future__ import annotations

import json
import os
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

MIB = 1024 * 1024


class Environment(StrEnum):
    """Where the service runs: ``production`` refuses to start without its secrets."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class LogFormat(StrEnum):
    """One JSON object a line for machines, or readable lines for a terminal."""

    JSON = "json"
    CONSOLE = "console"


class Strategy(StrEnum):
    """How passages are found: by meaning, by words, or both fused."""

    HYBRID = "hybrid"
    DENSE = "dense"
    SPARSE = "sparse"


class Fusion(StrEnum):
    """How both searches are joined: by their ranks (reciprocal rank fusion), or by their scaled scores."""

    RRF = "rrf"
    WEIGHTED = "weighted"


class VectorStore(StrEnum):
    """Where the vectors are: a Qdrant server, its engine in this process, or Postgres with pgvector."""

    QDRANT = "qdrant"
    EDGE = "edge"
    PGVECTOR = "pgvector"


class RerankForm(StrEnum):
    """What the reranker speaks: most servers at ``/v1/rerank``, or Text Embeddings Inference at ``/rerank``."""

    JINA = "jina"
    TEI = "tei"


class AnswerProvider(StrEnum):
    """Who writes the answer. ``auto``: those that have a key or an address, in this order, and then extractive."""

    AUTO = "auto"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    OLLAMA = "ollama"
    LOCAL = "local"
    EXTRACTIVE = "extractive"


class VisionProvider(StrEnum):
    """Who describes images."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    OLLAMA = "ollama"


class EmbeddingProvider(StrEnum):
    """Who makes the vectors. ``openai`` is also any server that speaks its protocol."""

    BUNDLED = "bundled"
    OPENAI = "openai"
    GEMINI = "gemini"
    FASTEMBED = "fastembed"


class ModelPrice(BaseModel):
    """US dollars for a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0)
    output: float = Field(0.0, ge=0)


class Settings(BaseSettings):
    """The service's configuration; unset ``DATABASE_URL`` means embedded mode below ``DATA_DIR``."""

    model_config = SettingsConfigDict(case_sensitive=False, extra="ignore", env_ignore_empty=True)

    app_name: str = "anchorage"
    app_env: Environment = Environment.DEVELOPMENT
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_format: LogFormat = LogFormat.JSON
    secret_key: SecretStr | None = Field(None, description="Keys the hashes of API keys; at least 32 characters.")
    secret_key_other: SecretStr | None = Field(
        None, description="While SECRET_KEY is changed: hashes under it are accepted too."
    )
    api_v1_prefix: str = Field("/api/v1", pattern="^(/[a-z0-9_-]+)+$")
    allowed_hosts: Annotated[list[str], NoDecode] = ["*"]
    cors_origins: Annotated[list[str], NoDecode] = []

    data_dir: Path = Field(Path("var"), description="Embedded mode keeps its database and index here.")
    database_url: SecretStr | None = None
    database_password: SecretStr | None = Field(None, description="Put into DATABASE_URL, which then carries none.")
    database_password_other: SecretStr | None = Field(
        None, description="Tried where DATABASE_PASSWORD is refused, while it is changed."
    )
    database_pool_size: int = Field(5, ge=1, le=100)

    redis_url: SecretStr | None = None
    redis_host: str | None = None
    redis_port: int = Field(6379, ge=1, le=65535)
    redis_tls: bool = False
    redis_password: SecretStr | None = None
    redis_db: int = Field(0, ge=0)
    redis_pool_size: int = Field(20, ge=1)
    redis_socket_timeout: float = Field(0.5, gt=0, description="Seconds; a slow cache is skipped, not waited for.")

    internal_ca_file: Path | None = Field(
        None, description="Authorities (PEM) that Redis and Qdrant must be signed by over TLS; unset: the system's."
    )

    vector_store_type: VectorStore | None = Field(
        None, description="Unset: a Qdrant server where QDRANT_URL or QDRANT_HOST names one, else edge."
    )
    qdrant_url: str | None = None
    qdrant_host: str | None = None
    qdrant_port: int = Field(6333, ge=1, le=65535)
    qdrant_api_key: SecretStr | None = None
    qdrant_collection_name: str = "anchorage"
    qdrant_timeout: float = Field(10.0, gt=0, description="Seconds a request to Qdrant may take.")
    qdrant_restart_patience: float = Field(
        15.0, ge=0, description="Seconds that questions wait for a Qdrant that restarts; then they fail at once."
    )

    cache_ttl: int = Field(3600, ge=0, description="Seconds an answer is kept; a hit never extends it. 0 turns it off.")
    max_cache_size: int = Field(10_000, ge=1, description="Entries of the in-process cache of embedded mode.")

    default_retrieval_strategy: Strategy = Strategy.HYBRID
    max_retrieval_results: int = Field(20, ge=1, le=100)
    fusion: Fusion = Fusion.WEIGHTED
    fusion_dense_weight: float = Field(0.5, ge=0, le=1, description="The search by words has the rest.")
    rerank_url: str | None = Field(
        None, description="A cross-encoder's endpoint, e.g. http://127.0.0.1:8081/v1/rerank."
    )
    rerank_form: RerankForm = RerankForm.JINA
    rerank_model: str = Field("reranker", description="As the server names it.")
    rerank_api_key: SecretStr | None = None
    rerank_timeout: float = Field(2.0, gt=0, description="Seconds; a slow reranker is done without.")
    rerank_candidates: int = Field(32, ge=1, le=200, description="How many of the best it judges.")
    rerank_by_default: bool = Field(False, description="Whether questions that don't say so are reranked.")
    # 0.30 refuses 1.8 % of xquad-en's questions over their own paragraphs, and 84 % of cranfield's over the same
    # ones (`make bench`).
    similarity_threshold: float = Field(0.30, ge=0, le=1, description="Cosine below which a passage is not relevant.")

    providers: Annotated[list[AnswerProvider], NoDecode] = Field(
        [AnswerProvider.AUTO], min_length=1, description="Who is asked for the answer, in this order."
    )
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    openai_model: str = "gpt-4o-mini"
    openai_context_tokens: int | None = Field(
        None, ge=512, description="Tokens of prompt and answer; unset: 128,000 at OpenAI, 8,192 at another server."
    )
    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: str | None = None
    anthropic_model: str = "claude-haiku-4-5"
    anthropic_context_tokens: int = Field(200_000, ge=512)
    gemini_api_key: SecretStr | None = None
    gemini_base_url: str | None = None
    gemini_model: str = "gemini-3.5-flash-lite"
    gemini_context_tokens: int = Field(1_000_000, ge=512)
    ollama_host: str | None = Field(None, description="Base URL of an Ollama server, e.g. http://127.0.0.1:11434.")
    ollama_model: str = "llama3.2"
    # What Ollama reads unless it is told otherwise; it cuts off what is more, from the front, and says nothing.
    ollama_context_tokens: int = Field(4_096, ge=512)
    local_model_path: Path | None = Field(None, description="A GGUF file; unset means the bundled SmolLM2-135M.")
    local_context_tokens: int = Field(2_048, ge=256)
    allowed_models: Annotated[list[str], NoDecode] = Field(
        [], description="Models that a query may ask for beside the configured ones; `*` is any."
    )
    answer_max_tokens: int = Field(512, ge=16, description="Tokens that an answer may have.")
    provider_timeout: float = Field(60.0, gt=0, description="Seconds until an answer must be complete.")
    provider_first_token_timeout: float = Field(
        20.0, gt=0, description="Seconds until an answer must begin, where another provider can be asked instead."
    )
    provider_retries: int = Field(1, ge=0, le=5, description="How often the client asks again after what may pass.")
    provider_failures: int = Field(5, ge=1, description="Failures in a row after which a provider is left alone.")
    provider_rest_seconds: float = Field(30.0, gt=0, description="How long it is left alone before it is tried again.")
    model_prices: Annotated[dict[str, ModelPrice], NoDecode] = Field(
        {}, description="By model, over the built-in table: JSON, or the path of a JSON file."
    )
    vision_provider: VisionProvider | None = Field(None, description="Who describes images; unset: nobody.")
    vision_model: str | None = Field(None, description="Unset: the provider's model for answers.")

    embedding_provider: EmbeddingProvider = EmbeddingProvider.BUNDLED
    embedding_model: str | None = None
    embedding_dimension: int | None = Field(None, ge=1, le=65_536)
    embedding_base_url: str | None = Field(None, description="Unset: OPENAI_BASE_URL, or the provider's own.")
    embedding_api_key: SecretStr | None = Field(None, description="Unset: the provider's key for answers.")
    embedding_model_path: Path | None = Field(None, description="A folder with a fastembed model, instead of a hub.")
    embedding_max_tokens: int | None = Field(None, ge=16, description="Tokens of one text that the model reads.")
    embedding_batch_size: int = Field(64, ge=1, le=2048, description="Texts in one request to a model server.")
    embedding_timeout: float = Field(30.0, gt=0, description="Seconds a request for vectors may take.")
    embedding_query_prefix: str = Field("", description="Put before a question, for models that ask for it.")
    embedding_document_prefix: str = Field("", description="Put before a passage, for models that ask for it.")
    embedding_threads: int = Field(0, ge=0, description="Threads of the bundled embedding model; 0 is all cores.")

    max_upload_bytes: int = Field(32 * MIB, ge=1)
    max_upload_files: int = Field(100, ge=1, description="Files of one request.")
    max_archive_files: int = Field(1000, ge=1, description="Files of one zip.")
    max_archive_bytes: int = Field(256 * MIB, ge=1, description="Bytes of a zip's files together, unpacked.")
    url_fetch_timeout: float = Field(30.0, gt=0, description="Seconds until a document from an address must be whole.")
    url_fetch_max_redirects: int = Field(5, ge=0, le=20)
    url_fetch_allowed_networks: Annotated[list[str], NoDecode] = Field(
        [], description="Networks (CIDR) of your own that documents may come from; public addresses always may."
    )
    session_timeout_hours: float = Field(
        24.0, gt=0, description="A conversation ends when nothing was asked this long."
    )
    stream_grace_seconds: float = Field(
        5.0, ge=0.1, description="An answer is still written this long when nobody reads it; then it is stopped."
    )
    stream_keep_seconds: int = Field(300, ge=1, description="A stream can be taken up again this long.")
    max_query_chars: int = Field(4_000, ge=1)

    enable_metrics: bool = True
    enable_query_logging: bool = True
    query_log_keep_days: int = Field(90, ge=1)
    metrics_namespace: str = Field("anchorage", pattern="^[a-z_][a-z0-9_]*$")
    worker_metrics_port: int = Field(
        0, ge=0, le=65535, description="Loopback port where `anchorage worker` answers /metrics; 0: none."
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None, description="Base URL of an OTLP collector (HTTP), e.g. http://127.0.0.1:4318; unset: no traces."
    )
    otel_exporter_otlp_headers: SecretStr | None = Field(None, description="For the collector: name=value,name=value.")
    traces_sample_ratio: float = Field(
        0.05, ge=0, le=1, description="Share of the traces that are kept; those with an error or slow ones always are."
    )
    traces_slow_s: float = Field(2.0, gt=0, description="Seconds from which a trace is slow.")
    sentry_dsn: SecretStr | None = Field(None, description="Where unexpected failures are reported; unset: nowhere.")
    app_colour: str = Field("", pattern="^[a-z]*$", description="Which of two services side by side this one is.")

    job_lease_seconds: float = Field(60.0, gt=0, description="A job whose worker is silent this long is taken over.")
    job_keep_days: int = Field(30, ge=1, description="Of jobs that succeeded; those that failed are kept.")
    job_poll_seconds: float = Field(1.0, gt=0)
    job_max_attempts: int = Field(5, ge=1, description="Waiting for a dependency that is away counts as none.")
    index_check_hours: float = Field(
        24.0, gt=0, description="How often a worker compares the vector index with the database; also when it starts."
    )
    worker_concurrency: int = Field(2, ge=1, le=32, description="Documents that a worker makes answerable at a time.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit values, then credential files, then the environment."""
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            return init_settings, env_settings
        return init_settings, SecretsSettingsSource(settings_cls, secrets_dir=directory), env_settings

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("allowed_hosts", "cors_origins", "providers", "allowed_models", "url_fetch_allowed_networks"):
            value = values.get(name)
            if isinstance(value, str):
                values[name] = [item.strip() for item in value.split(",") if item.strip()]
        return values

    @field_validator("model_prices", mode="before")
    @classmethod
    def _read_prices(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value if value.lstrip().startswith("{") else Path(value).read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"neither a JSON object nor a file that holds one ({error})") from error

    @field_validator("url_fetch_allowed_networks")
    @classmethod
    def _are_networks(cls, values: list[str]) -> list[str]:
        for value in values:
            ip_network(value)
        return values

    @field_validator("secret_key_other", "database_password_other", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        # Their credential files are always there, so that a change of a secret changes no unit.
        return None if value == "" else value

    @model_validator(mode="after")
    def _production_has_its_secrets(self) -> Self:
        if self.secret_key is not None and len(self.secret_key.get_secret_value()) < 32:
            raise ValueError("SECRET_KEY is shorter than 32 characters; make one with: openssl rand -hex 32")
        if self.app_env is Environment.PRODUCTION and self.secret_key is None:
            raise ValueError("SECRET_KEY is not set and APP_ENV is production; make one with: openssl rand -hex 32")
        return self

    @property
    def embedded(self) -> bool:
        """Whether everything runs in this process, with nothing installed beside it."""
        return self.database_url is None

    @property
    def sqlalchemy_url(self) -> str:
        """The database as SQLAlchemy names it; a password from its own variable is put in."""
        if self.database_url is None:
            return f"sqlite+aiosqlite:///{self.data_dir.absolute() / 'anchorage.db'}"
        url = self.database_url.get_secret_value()
        for prefix in ("postgresql://", "postgres://"):
            if url.startswith(prefix):
                url = "postgresql+psycopg://" + url.removeprefix(prefix)
        if self.database_password is not None:
            scheme, rest = url.split("://", 1)
            user, host = rest.split("@", 1)
            url = f"{scheme}://{user}:{quote(self.database_password.get_secret_value(), safe='')}@{host}"
        return url

    @property
    def redis_dsn(self) -> str | None:
        """The cache's address, or none: then the in-process cache is used."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        if self.redis_host is None:
            return None
        scheme = "rediss" if self.redis_tls else "redis"
        return f"{scheme}://{self.redis_host}:{self.redis_port}/{self.redis_db}"

    @property
    def qdrant_address(self) -> str | None:
        """The vector server's URL, or none: then Qdrant Edge runs in this process."""
        if self.qdrant_url is not None:
            return self.qdrant_url
        return None if self.qdrant_host is None else f"http://{self.qdrant_host}:{self.qdrant_port}"
