#!/usr/bin/python3
"""A stand-in for Grafana's program, for tests of the role: it shows nothing.

It reads the same command line, settings and provisioning files, ends with an error on what Grafana would refuse (and on
settings that Grafana would silently ignore), and answers the few addresses that the role asks.
"""

from __future__ import annotations

import argparse
import base64
import configparser
import hashlib
import json
import os
import re
import sqlite3
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

# Settings that the role or a test of it writes, as Grafana's own defaults name them.
KNOWN = {
    "paths": "data logs plugins provisioning",
    "server": "protocol http_addr http_port domain root_url",
    "database": "type wal",
    "analytics": "reporting_enabled check_for_updates check_for_plugin_updates feedback_links_enabled",
    "security": "admin_user admin_password secret_key disable_gravatar cookie_secure cookie_samesite "
    "content_security_policy",
    "users": "allow_sign_up allow_org_create default_theme",
    "auth.anonymous": "enabled",
    "snapshots": "external_enabled",
    "public_dashboards": "enabled",
    "news": "news_feed_enabled",
    "plugins": "plugin_admin_enabled preinstall_disabled public_key_retrieval_disabled",
    "unified_alerting": "enabled",
    "dashboards": "default_home_dashboard_path min_refresh_interval",
    "log": "mode level",
    "log.console": "format",
}
SOURCE_FIELDS = {"name", "uid", "type", "access", "url", "isDefault", "editable", "jsonData"}
SOURCE_TYPES = {"prometheus", "tempo", "jaeger", "zipkin"}
UID = re.compile(r"[A-Za-z0-9_-]{1,40}")


class RefusedError(Exception):
    """What Grafana would not start with."""


class Settings:
    """grafana.ini with what the command line puts over it."""

    def __init__(self, path: str, overrides: list[str]) -> None:
        parser = configparser.RawConfigParser()
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
        self.values = {section: dict(parser[section]) for section in parser.sections()}
        for override in overrides:
            found = re.fullmatch(r"cfg:(\w+)\.(\w+)=(.*)", override)
            if found is None:
                raise RefusedError(f"argument {override}")
            self.values.setdefault(found[1], {})[found[2]] = found[3]
        for section, settings in self.values.items():
            unknown = set(settings) - set(KNOWN.get(section, "").split())
            if unknown:
                raise RefusedError(f"[{section}] {', '.join(sorted(unknown))} is no setting")

    def get(self, section: str, name: str) -> str:
        value = self.values.get(section, {}).get(name, "")
        found = re.fullmatch(r"\$__file\{(.+)\}", value)
        return Path(found[1]).read_text(encoding="utf-8").strip() if found else value


def expanded(text: str) -> str:
    """Of provisioning files: `$NAME` and `${NAME}` are variables of the environment, `$$` is a dollar sign."""
    return re.sub(r"\$(\$|\w+|\{[^}]*\})", lambda m: "$" if m[1] == "$" else os.environ.get(m[1].strip("{}"), ""), text)


def provisioned(folder: Path, kind: str) -> list[dict[str, Any]]:
    files = [yaml.safe_load(expanded(path.read_text())) for path in sorted((folder / kind).glob("*.y*ml"))]
    for file in files:
        if file.get("apiVersion") != 1:
            raise RefusedError(f"{kind}: apiVersion {file.get('apiVersion')}")
    key = {"datasources": "datasources", "dashboards": "providers"}[kind]
    return [entry for file in files for entry in file.get(key) or []]


def sources(folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in provisioned(folder, "datasources"):
        if unknown := set(entry) - SOURCE_FIELDS:
            raise RefusedError(f"datasource {entry.get('name')}: {unknown}")
        if entry["type"] not in SOURCE_TYPES or entry["access"] != "proxy" or not UID.fullmatch(entry["uid"]):
            raise RefusedError(f"datasource {entry}")
        if entry["uid"] in found:
            raise RefusedError(f"datasource uid {entry['uid']} twice")
        found[entry["uid"]] = entry
    if sum(bool(entry.get("isDefault")) for entry in found.values()) > 1:
        raise RefusedError("more than one default datasource")
    for entry in found.values():
        for target in entry.get("jsonData", {}).get("exemplarTraceIdDestinations", []):
            if target.get("datasourceUid", entry["uid"]) not in found:
                raise RefusedError(f"datasource {target['datasourceUid']} is not there")
    return found


def dashboards(folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for provider in provisioned(folder, "dashboards"):
        if provider["type"] != "file" or not Path(provider["options"]["path"]).is_dir():
            raise RefusedError(f"provider {provider}")
        for path in sorted(Path(provider["options"]["path"]).glob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            uid, title = content["uid"], content["title"]
            if not UID.fullmatch(uid) or uid in found or title in {other["title"] for other in found.values()}:
                raise RefusedError(f"{path}: uid {uid} or title {title}")
            found[uid] = content
    return found


class Users:
    """The one user, in Grafana's database."""

    def __init__(self, data: str) -> None:
        self._file = Path(data) / "grafana.db"

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._file)
        database.execute("create table if not exists standin_user (login text primary key, salt text, hash text)")
        return database

    def begin_with(self, login: str, password: str) -> None:
        """The password of the settings counts at the very first start only."""
        with self._open() as database:
            if database.execute("select 1 from standin_user").fetchone() is None:
                self._put(database, login, password)

    def reset(self, password: str) -> None:
        with self._open() as database:
            (login,) = database.execute("select login from standin_user").fetchone()
            self._put(database, login, password)

    def knows(self, login: str, password: str) -> bool:
        with self._open() as database:
            found = database.execute("select salt, hash from standin_user where login = ?", (login,)).fetchone()
        return found is not None and _hash(password, found[0]) == found[1]

    @staticmethod
    def _put(database: sqlite3.Connection, login: str, password: str) -> None:
        salt = os.urandom(8).hex()
        database.execute("replace into standin_user values (?, ?, ?)", (login, salt, _hash(password, salt)))


def _hash(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 10000).hex()


class Grafana:
    """What is served: read and checked as a whole before the port is opened."""

    def __init__(self, settings: Settings) -> None:
        self._folder = Path(settings.get("paths", "provisioning"))
        self._sources, self._users = sources(self._folder), Users(settings.get("paths", "data"))
        dashboards(self._folder)
        home = settings.get("dashboards", "default_home_dashboard_path")
        if home and not Path(home).is_file():
            raise RefusedError(f"home dashboard {home}")
        for name in ("admin_password", "secret_key"):
            if not settings.get("security", name):
                raise RefusedError(f"no {name}")
        self._users.begin_with(settings.get("security", "admin_user"), settings.get("security", "admin_password"))

    def answer(self, address: str, authorization: str) -> tuple[int, Any]:
        """Status and content."""
        path, query = urlsplit(address).path, parse_qs(urlsplit(address).query)
        if path == "/api/health":
            return 200, {"database": "ok", "version": "stand-in"}
        login = self._logged_in(authorization)
        if login is None:
            return 401, {"message": "Unauthorized"}
        if path == "/api/user":
            return 200, {"login": login}
        if path == "/api/search":
            return 200, self._search(query.get("tag", [""])[0])
        return self._one(path)

    def _logged_in(self, authorization: str) -> str | None:
        scheme, _, given = authorization.partition(" ")
        login, _, password = base64.b64decode(given).decode().partition(":") if scheme == "Basic" else ("", "", "")
        return login if self._users.knows(login, password) else None

    def _search(self, tag: str) -> list[dict[str, Any]]:
        shown = [board for board in dashboards(self._folder).values() if not tag or tag in board["tags"]]
        return [{"uid": board["uid"], "title": board["title"]} for board in shown]

    def _one(self, path: str) -> tuple[int, Any]:
        found = re.fullmatch(r"/api/(dashboards|datasources)/uid/([\w-]+)(/health)?", path)
        known = dashboards(self._folder) if found and found[1] == "dashboards" else self._sources
        if found is None or found[2] not in known:
            return 404, {"message": "Not found"}
        if found[3]:
            return health(known[found[2]])
        return 200, {"dashboard": known[found[2]]} if found[1] == "dashboards" else known[found[2]]


def health(source: dict[str, Any]) -> tuple[int, Any]:
    """Whether the data source answers."""
    path = "/api/v1/query?query=1%2B1" if source["type"] == "prometheus" else "/"
    try:
        with urllib.request.urlopen(source["url"] + path, timeout=5) as answer:  # noqa: S310
            answer.read()
    except OSError as error:
        return 400, {"status": "ERROR", "message": str(error)}
    return 200, {"status": "OK"}


def serve(settings: Settings) -> None:
    grafana = Grafana(settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = grafana.answer(self.path, self.headers.get("Authorization", ""))
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """The journal is for what goes wrong."""

    at = settings.get("server", "http_addr"), int(settings.get("server", "http_port"))
    ThreadingHTTPServer(at, Handler).serve_forever()


def main(arguments: list[str]) -> int:
    command, rest = arguments[0], arguments[1:]
    parser = argparse.ArgumentParser()
    parser.add_argument("--homepath", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--packaging")
    parser.add_argument("words", nargs="*")
    given, unknown = parser.parse_known_args(rest)
    try:
        if command == "server":
            serve(Settings(given.config, given.words))
        elif (
            command == "cli"
            and given.words == ["admin", "reset-admin-password"]
            and unknown == ["--password-from-stdin"]
        ):
            Users(Settings(given.config, []).get("paths", "data")).reset(sys.stdin.read().strip())
        else:
            raise RefusedError(" ".join(arguments))
    except (RefusedError, KeyError, OSError, ValueError, configparser.Error, yaml.YAMLError) as error:
        sys.stderr.write(f"refused: {type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
