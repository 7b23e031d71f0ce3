"""Keys, TLS and bad input: who is refused and what they are told."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .process import KEY, NEXT_KEY, READ_ONLY, Standin

VECTORS = {"vectors": {"size": 2, "distance": "Dot"}}


@pytest.fixture(scope="module", autouse=True)
def collection(standin: Standin) -> None:
    with standin.http() as http:
        assert http.put("/collections/a", json=VECTORS).status_code == 200


def test_open_routes_need_no_key_and_say_what_this_is(standin: Standin) -> None:
    with standin.http(None) as http:
        root = http.get("/").json()
        assert root["commit"] == "lab-edge"
        assert "not the real server" in root["title"]
        assert [http.get(path).status_code for path in ("/healthz", "/livez", "/readyz")] == [200, 200, 200]


@pytest.mark.parametrize("path", ["/collections", "/metrics", "/telemetry", "/collections/a", "/snapshots", "/cluster"])
def test_no_key_and_wrong_key_are_refused(standin: Standin, path: str) -> None:
    with standin.http(None) as http:
        missing, wrong = http.get(path), http.get(path, headers={"api-key": "wrong"})
        empty = http.get(path, headers={"authorization": "Basic Zm9v"})
    assert (missing.status_code, wrong.status_code, empty.status_code) == (401, 401, 401)
    assert missing.text == "Must provide an API key or an Authorization bearer token"
    assert wrong.text == "Invalid API key or JWT"


@pytest.mark.parametrize("headers", [{"api-key": KEY}, {"api-key": NEXT_KEY}, {"authorization": f"Bearer {KEY}"}])
def test_either_full_key_is_accepted(standin: Standin, headers: dict[str, str]) -> None:
    """Two keys at once are how a key is changed without an outage."""
    with standin.http(None) as http:
        assert http.get("/collections", headers=headers).status_code == 200


READS = [
    ("GET", "/collections/a", None),
    ("GET", "/metrics", None),
    ("POST", "/collections/a/points/count", {}),
    ("POST", "/collections/a/points/scroll", {}),
    ("POST", "/collections/a/points/query", {}),
    ("GET", "/aliases", None),
    ("POST", "/collections/a/points", {"ids": [1]}),
    ("GET", "/collections/a/snapshots", None),
]
WRITES: list[tuple[str, str, Any]] = [
    ("PUT", "/collections/b", VECTORS),
    ("DELETE", "/collections/a", None),
    ("POST", "/collections/aliases", {"actions": []}),
    ("PUT", "/collections/a/points", {"points": []}),
    ("POST", "/collections/a/points/delete", {"points": [1]}),
    ("POST", "/collections/a/snapshots", None),
    ("POST", "/snapshots", None),
    ("PATCH", "/collections/a", {}),
    ("POST", "/collections/a/snapshots/upload", None),
    ("PUT", "/collections/a/index", {"field_name": "x"}),
]


@pytest.mark.parametrize(("method", "path", "body"), READS)
def test_read_only_key_reads(standin: Standin, method: str, path: str, body: Any) -> None:
    with standin.http(READ_ONLY) as http:
        assert http.request(method, path, json=body).status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_read_only_key_changes_nothing(standin: Standin, method: str, path: str, body: Any) -> None:
    with standin.http(READ_ONLY) as http:
        answer = http.request(method, path, json=body)
        assert answer.status_code == 403
        assert "Forbidden" in answer.json()["status"]["error"]
        assert http.get("/collections").json()["result"]["collections"] == [{"name": "a"}]


BAD: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/collections/none", None, 404, "Collection `none` doesn't exist!"),
    ("PUT", "/collections/a", VECTORS, 409, "already exists"),
    ("PUT", "/collections/x", {"vectors": {"size": 0, "distance": "Dot"}}, 400, "size"),
    ("PUT", "/collections/x", {"vectors": {"size": 3, "distance": "Sum"}}, 400, "unknown variant `Sum`"),
    ("PUT", "/collections/x%2Fy", VECTORS, 404, ""),
    ("PUT", "/collections/a/points", {"points": [{"id": -1, "vector": [1, 2]}]}, 400, "not a valid point ID"),
    ("PUT", "/collections/a/points", {"points": [{"id": "abc", "vector": [1, 2]}]}, 400, "not a valid point ID"),
    ("PUT", "/collections/a/points", {"points": [{"id": 1, "vector": [1]}]}, 400, "expected dim: 2, got 1"),
    ("PUT", "/collections/a/points", {"points": [{"id": 1, "vector": ["x", 1]}]}, 400, ""),
    ("PUT", "/collections/a/points", {"points": [{"id": 1, "vector": {"v": [1, 2]}}]}, 400, "vector name"),
    ("PUT", "/collections/a/points", {"points": []}, 400, "Empty update request"),
    ("POST", "/collections/a/points/delete", {}, 400, "points"),
    ("POST", "/collections/a/points/query", {"query": [1, 2], "limt": 3}, 400, "unknown field `limt`"),
    ("POST", "/collections/a/points/query", {"query": [1, 2], "limit": 0}, 400, "limit"),
    ("POST", "/collections/a/points/query", {"query": {"fusion": "rrf"}}, 400, "without prefetches"),
    (
        "POST",
        "/collections/a/points/query",
        {"query": [1, 2], "filter": {"must": [{"key": "x"}]}},
        400,
        "field condition",
    ),
    ("POST", "/collections/a/points/query", {"query": 99}, 404, "99"),
    ("POST", "/collections/a/points/payload", {"payload": {"a": 1}, "points": [12345]}, 404, "No point with id"),
    ("POST", "/collections/aliases", {"actions": [{"delete_alias": {"alias_name": "no"}}]}, 404, "Alias no"),
    ("PUT", "/collections/a/snapshots/recover", {"location": "http://127.0.0.1/x"}, 400, "file://"),
    ("GET", "/collections/a/snapshots/no.snapshot", None, 404, "not found"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "message"), BAD)
def test_bad_input_is_named(standin: Standin, method: str, path: str, body: Any, status: int, message: str) -> None:
    with standin.http() as http:
        answer = http.request(method, path, json=body)
        assert answer.status_code == status
        assert message in answer.text
        assert http.post("/collections/a/points/count", json={}).json()["result"]["count"] == 0


def test_broken_json_and_too_large_bodies_are_refused(standin: Standin) -> None:
    with standin.http() as http:
        assert http.put("/collections/a/points", content=b'{"points": [').status_code == 400
        assert http.put("/collections/a/points", content=b" " * (33 * 1024 * 1024)).status_code == 413


def test_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    server = Standin(tmp_path / "tls", enable_tls=True, tls={"cert": str(certificate), "key": str(key)}).start()
    try:
        trust = ssl.create_default_context(cafile=str(certificate))
        answer = httpx.get(f"{server.url}/collections", headers={"api-key": KEY}, verify=trust)
        assert answer.status_code == 200
        with pytest.raises(httpx.ConnectError, match=r"self-signed|unable to get local issuer"):
            httpx.get(f"{server.url}/healthz")
    finally:
        server.end()


def self_signed(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    hour = datetime.timedelta(hours=1)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - hour)
        .not_valid_after(now + hour)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = directory / "cert.pem", directory / "key.pem"
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    pem = serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, pem, serialization.NoEncryption()))
    return certificate, secret
