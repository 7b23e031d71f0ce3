"""The `qdrant` command of the stand-in: the real server's flags, configuration and exit behaviour."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from . import snapshots, version_line
from .config import Config, ConfigError, Tls, load
from .errors import ApiError
from .routes import application
from .server import Server
from .storage import Storage, StorageInUseError

log = logging.getLogger("qdrant_standin")


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="qdrant", description=version_line(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--config-path", type=Path, metavar="FILE", help="configuration file (YAML)")
    arguments.add_argument("--storage-snapshot", type=Path, metavar="FILE", help="restore a full snapshot at start")
    arguments.add_argument(
        "--snapshot", action="append", default=[], metavar="FILE:COLLECTION", help="restore one at start"
    )
    arguments.add_argument("-f", "--force-snapshot", action="store_true", help="a restore may replace collections")
    arguments.add_argument("--disable-telemetry", action="store_true", help="accepted; the stand-in never sends any")
    arguments.add_argument("--uri", help="accepted by the real server only (cluster)")
    arguments.add_argument("--bootstrap", help="accepted by the real server only (cluster)")
    arguments.add_argument("--version", "-V", action="version", version=version_line())
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exit status 1: it can't start; the last line says why."""
    options = parser().parse_args(argv)
    try:
        if options.uri or options.bootstrap:
            raise ConfigError("--uri and --bootstrap need cluster mode, which the lab stand-in does not have")
        config = load(options.config_path, os.environ)
        logging.basicConfig(level=config.log_level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        return _serve(config, options)
    except (ConfigError, StorageInUseError, ApiError, OSError, ssl.SSLError) as error:
        sys.stderr.write(f"qdrant (lab stand-in): {error}\n")
        return 1


def _serve(config: Config, options: argparse.Namespace) -> int:
    log.info("%s", version_line())
    if config.grpc_port is not None:
        log.info("gRPC port %d is not served: the stand-in speaks REST only", config.grpc_port)
    if not config.api_keys and not config.read_only_api_key:
        log.warning("no API key is set: everybody who reaches port %d can read and change everything", config.http_port)
    storage = Storage.open(config.storage)
    try:
        _restore(storage, options)
        # The application's lifespan closes the storage when the server stops.
        asyncio.run(_run(Server(config, storage)))
    finally:
        storage.close()
    return 0


def _restore(storage: Storage, options: argparse.Namespace) -> None:
    if options.storage_snapshot is not None:
        snapshots.restore_full(storage, options.storage_snapshot, options.force_snapshot)
        log.info("restored %s", options.storage_snapshot)
    for item in options.snapshot:
        file, _, name = item.rpartition(":")
        if not file or not name:
            raise ConfigError(f"--snapshot {item}: expected FILE:COLLECTION")
        snapshots.restore_one(storage, name, Path(file), options.force_snapshot)


async def _run(server: Server) -> None:
    config = server.config
    tls = config.tls
    settings = uvicorn.Config(
        application(server),
        host=config.host,
        port=config.http_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        ssl_certfile=tls.cert if tls else None,
        ssl_keyfile=tls.key if tls else None,
        ssl_ca_certs=str(tls.ca) if tls and tls.ca else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.verify_clients else ssl.CERT_NONE,
    )
    listener = _listen(config)
    reloader = None
    if tls is not None:
        settings.load()
        if settings.ssl is None:
            raise ConfigError("TLS is enabled but no TLS context came of the given files")
        reloader = asyncio.create_task(_reload_certificate(settings.ssl, tls))
    await _Uvicorn(settings).serve(sockets=[listener])
    if reloader is not None:
        reloader.cancel()


def _listen(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.http_port), family=family, backlog=1024)
    except OSError as error:
        raise OSError(f"can't listen on {config.host} port {config.http_port}: {error.strerror}") from error


class _Uvicorn(uvicorn.Server):
    """Ends with status 0 after SIGTERM, as the real server does; uvicorn's own way is to die of the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def _reload_certificate(context: ssl.SSLContext, tls: Tls) -> None:
    """New connections get a renewed certificate after at most `tls.cert_ttl` seconds, without a restart."""
    loaded = tls.cert.stat().st_mtime
    while True:
        await asyncio.sleep(tls.ttl_s)
        try:
            changed = tls.cert.stat().st_mtime
            if changed != loaded:
                context.load_cert_chain(tls.cert, tls.key)
                loaded = changed
                log.info("certificate reloaded")
        except (OSError, ssl.SSLError):
            log.exception("the renewed certificate can't be loaded; the old one stays in use")
