"""The edge's TLS with a public certificate, as testssl.sh rates it from a neighbour."""

from __future__ import annotations

import datetime
import json
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.inventory import NEIGHBOUR
from lab.lab import Lab
from lab.up import HOST, put_artifacts
from tests.lab.stack.conftest import play
from tests.lab.tls import Verdict, install, rate
from tests.prove.scorecard import Figure

NAME = f"{HOST}.lab.test"
DAY = datetime.timedelta(days=1)


def measure() -> list[Figure]:
    """In a lab of its own, with a certificate like that of a public authority: 90 days, and a revocation list."""
    with tempfile.TemporaryDirectory() as directory:
        verdict = _rated(Path(directory))
    said = ", ".join(f"{what}: {finding}" for what, finding in verdict.findings.items()) or "none"
    return [
        Figure(
            "testssl.sh's overall grade of the edge, certificate provided", "A+", verdict.grade, verdict.grade == "A+"
        ),
        Figure("its findings above severity LOW", "none", said, not verdict.findings),
    ]


def _rated(directory: Path) -> Verdict:
    root = _certificates(directory)
    lab = Lab("prove-tls")
    lab.down()
    try:
        lab.up([(HOST, "trixie"), (NEIGHBOUR, "trixie")])
        put_artifacts(lab)
        settings = {
            "certificates_mode": "provided",
            "certificates_provided_certificate": str(directory / "public.crt"),
            "certificates_provided_key": str(directory / "public.key"),
            # This machine knows no name of the lab, and nobody but the host's own file knows the root.
            "smoke_from": HOST,
            "smoke_authority": "/etc/anchorage/tls/public/fullchain.pem",
        }
        done = play(lab, "site.yml", "-e", json.dumps(settings))
        if done.returncode != 0:
            raise RuntimeError(f"site.yml failed:\n{done.stdout[-6000:]}")
        install(lab.host(NEIGHBOUR))
        return rate(lab.host(NEIGHBOUR), lab.host(HOST).address, NAME, root)
    finally:
        lab.down()


def _may_sign() -> x509.KeyUsage:
    uses = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return x509.KeyUsage(
        **dict.fromkeys(uses, False), key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False
    )


def _certificates(directory: Path) -> str:
    """Write `public.crt` and `public.key` there; returns the root (PEM) that signed."""
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    signer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A root for this test")])
    now = datetime.datetime.now(datetime.UTC)
    root = (
        x509.CertificateBuilder(
            signer, signer, authority.public_key(), x509.random_serial_number(), now - DAY, now + 3650 * DAY
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_may_sign(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    revoked = x509.DistributionPoint([x509.UniformResourceIdentifier("http://root.lab.test/crl")], None, None, None)
    leaf = (
        x509.CertificateBuilder(
            signer, subject, key.public_key(), x509.random_serial_number(), now - DAY, now + 89 * DAY
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.CRLDistributionPoints([revoked]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    (directory / "public.crt").write_bytes(leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM))
    (directory / "public.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return root.public_bytes(Encoding.PEM).decode()
