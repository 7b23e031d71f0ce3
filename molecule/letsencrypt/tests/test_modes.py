"""The mode is a variable: each can follow any other, and nginx never lacks a certificate."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import METRICS, Converge, Edge
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://edge13"]


def certificate(directory: Path, names: Sequence[str], days: int = 90) -> dict[str, str]:
    """What a company's own authority would hand out: here signed by itself."""
    crt, key = directory / "public.crt", directory / "public.key"
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    crt.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return {"certificates_provided_certificate": str(crt), "certificates_provided_key": str(key)}


def test_from_acme_to_provided_to_selfsigned_and_back(
    host: Host, edge: Edge, converge: Converge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (edge.name, f"*.{edge.name}")
    given = certificate(tmp_path, names)
    password = tmp_path / "vault-password"
    password.write_text("a vault's password")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    subprocess.run(["ansible-vault", "encrypt", given["certificates_provided_key"]], check=True, capture_output=True)  # noqa: S603, S607
    done = converge(certificates_mode="provided", **given)
    assert done.returncode == 0, done.stdout
    time.sleep(1)
    assert ("DNS", names[1]) in edge.served(tmp_path / "public.crt")["subjectAltName"]
    assert not host.service("certbot.timer").is_running
    assert not host.file(METRICS).exists
    assert "changed=0 " in converge(certificates_mode="provided", **given).stdout

    done = converge(certificates_mode="selfsigned")
    assert done.returncode == 0, done.stdout
    time.sleep(1)
    edge.served(edge.internal)
    assert "changed=0 " in converge(certificates_mode="selfsigned").stdout

    done = converge()
    assert done.returncode == 0, done.stdout
    time.sleep(1)
    edge.served()
    assert host.service("certbot.timer").is_running


@pytest.mark.parametrize(
    ("names", "days", "told"),
    [
        (["other.lab.test"], 90, "names that it lacks: edge13.lab.test, www.edge13.lab.test"),
        (["edge13.lab.test", "www.edge13.lab.test"], -1, "valid until"),
    ],
    ids=["names", "expired"],
)
def test_a_provided_certificate_that_does_not_fit_is_refused(
    edge: Edge, converge: Converge, tmp_path: Path, names: list[str], days: int, told: str
) -> None:
    before = edge.serial()
    done = converge(certificates_mode="provided", **certificate(tmp_path, names, days))
    assert done.returncode != 0
    assert told in " ".join(done.stdout.split())
    assert edge.serial() == before


def test_a_key_of_another_certificate_is_refused(edge: Edge, converge: Converge, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    names = [edge.name, f"www.{edge.name}"]
    given, other = certificate(tmp_path / "a", names), certificate(tmp_path / "b", names)
    done = converge(
        certificates_mode="provided", **given | {"certificates_provided_key": other["certificates_provided_key"]}
    )
    assert done.returncode != 0
    assert "its key is another than" in " ".join(done.stdout.split())
    with pytest.raises(ssl.SSLCertVerificationError):
        edge.served(tmp_path / "a/public.crt")
