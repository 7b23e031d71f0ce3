"""The server's configuration: the same YAML keys, environment names and precedence as the real one.

Order, weakest first: built-in, the file of `--config-path`, `QDRANT__SECTION__KEY` variables. Only the keys the
stand-in acts on become fields; the real server's other keys are accepted: the role
writes its file for that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ALL_ADDRESSES = "0.0.0.0"  # noqa: S104  (the real server's default; the role sets the address)
SECTIONS = frozenset({
    "log_level", "logger", "storage", "service", "cluster", "tls", "telemetry_disabled", "audit", "inference",
    "hardware_reporting", "feature_flags", "gpu",
})  # fmt: skip


class ConfigError(Exception):
    """The configuration can't be used; the text names the key and what to change."""


@dataclass(frozen=True)
class Tls:
    cert: Path
    key: Path
    ca: Path | None
    verify_clients: bool
    ttl_s: float


@dataclass(frozen=True)
class Config:
    host: str
    http_port: int
    grpc_port: int | None
    max_request_bytes: int
    api_keys: tuple[str, ...]
    read_only_api_key: str | None
    url_recovery: bool
    metrics_prefix: str
    storage: Path
    snapshots: Path
    flush_interval_s: float
    tls: Tls | None
    log_level: str


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the file (if any) and the environment. Raises ConfigError."""
    raw: dict[str, Any] = {}
    if path is not None:
        raw = _read(path)
    for name, value in environ.items():
        if name.startswith("QDRANT__"):
            # A key stays the text it is: one that looks like a number must not become one.
            parsed = value if name.endswith("API_KEY") else yaml.safe_load(value)
            _assign(raw, [part.lower() for part in name.removeprefix("QDRANT__").split("__")], parsed, name)
    return _build(raw)


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}; give --config-path a readable file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: the top level must be a mapping of sections such as `service:`")
    unknown = sorted(str(key) for key in set(loaded) - SECTIONS)
    if unknown:
        raise ConfigError(f"{path}: unknown section {', '.join(unknown)}; known: {', '.join(sorted(SECTIONS))}")
    return loaded


def _assign(raw: dict[str, Any], keys: list[str], value: Any, name: str) -> None:
    section = raw
    for key in keys[:-1]:
        inner = section.setdefault(key, {})
        if inner is None:
            inner = section[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{name}: `{key}` is a value in the configuration file, not a section")
        section = inner
    section[keys[-1]] = value


def _section(raw: dict[str, Any], *keys: str) -> dict[str, Any]:
    section: Any = raw
    for key in keys:
        section = section.get(key) or {}
        if not isinstance(section, dict):
            raise ConfigError(f"`{'.'.join(keys)}` must be a section")
    return dict(section)


def _key(service: dict[str, Any], name: str) -> str | None:
    """An API key. An empty one counts as unset, exactly as in the real server."""
    value = service.get(name)
    return None if value is None or value == "" else str(value)


def _number(section: dict[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = section.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"`{key}` is {value!r}; it must be a number from {low:g} to {high:g}")
    return float(value)


def _build(raw: dict[str, Any]) -> Config:
    service, storage, tls = _section(raw, "service"), _section(raw, "storage"), _section(raw, "tls")
    if _section(raw, "cluster").get("enabled"):
        raise ConfigError("`cluster.enabled` is true, but the lab stand-in has no cluster mode; set it to false")
    if service.get("metrics_port") is not None:
        raise ConfigError("the lab stand-in serves /metrics on http_port only; remove `service.metrics_port`")
    if service.get("jwt_rbac"):
        raise ConfigError("the lab stand-in has no JWT access control; set `service.jwt_rbac` to false")
    grpc_port = service.get("grpc_port", 6334)
    keys = tuple(key for key in (_key(service, "api_key"), _key(service, "alt_api_key")) if key)
    return Config(
        host=str(service.get("host", ALL_ADDRESSES)),
        http_port=int(_number(service, "http_port", 6333, 1, 65535)),
        grpc_port=None if grpc_port is None else int(grpc_port),
        max_request_bytes=int(_number(service, "max_request_size_mb", 32, 1, 4096)) * 1024 * 1024,
        api_keys=keys,
        read_only_api_key=_key(service, "read_only_api_key"),
        url_recovery=bool(service.get("enable_snapshot_url_recovery", True)),
        metrics_prefix=str(service.get("metrics_prefix") or ""),
        storage=Path(str(storage.get("storage_path", "./storage"))),
        snapshots=Path(str(storage.get("snapshots_path", "./snapshots"))),
        flush_interval_s=_number(_section(raw, "storage", "optimizers"), "flush_interval_sec", 5, 0.05, 3600),
        tls=_tls(tls, bool(service.get("verify_https_client_certificate"))) if service.get("enable_tls") else None,
        log_level=str(raw.get("log_level") or "INFO").split(",")[0].upper(),
    )


def _tls(tls: dict[str, Any], verify_clients: bool) -> Tls:
    for key in ("cert", "key"):
        if not tls.get(key):
            raise ConfigError(f"`service.enable_tls` is true but `tls.{key}` is not set; name the PEM file")
    ca = tls.get("ca_cert")
    if verify_clients and not ca:
        raise ConfigError("`service.verify_https_client_certificate` is true but `tls.ca_cert` is not set")
    ttl = _number(tls, "cert_ttl", 3600, 1, 10**7)
    return Tls(Path(tls["cert"]), Path(tls["key"]), Path(ca) if ca else None, verify_clients, ttl)
