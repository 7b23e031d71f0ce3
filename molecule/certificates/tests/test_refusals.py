"""What the role refuses, each with its cause; nothing on the host changes."""

from __future__ import annotations

from typing import Any

import pytest
from rerun import converge, serial
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://cert13"]

REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("short passphrase", {"certificates_ca_passphrase": "short"}, "certificates_ca_passphrase has 5 characters"),
    ("other passphrase", {"certificates_ca_passphrase": "x" * 32}, "certificates_ca_passphrase does not open"),
    ("unknown mode", {"certificates_mode": "internal"}, "value of certificates_mode must be one of: selfsigned"),
    ("always due", {"certificates_renew_before_days": 365}, "every run would renew"),
    ("the authority's name", {"certificates_services": [{"name": "ca", "common_name": "x"}]}, "has the entry 'ca'"),
    (
        "name without its kind",
        {"certificates_services": [{"name": "a", "common_name": "x", "subject_alt_names": ["192.0.2.1"]}]},
        "every other name needs its kind",
    ),
    (
        "a wildcard by ACME",
        {"certificates_mode": "letsencrypt", "certificates_public_names": ["*.lab.test"]},
        "A wildcard can't be proven over HTTP",
    ),
    (
        "no placeholder",
        {"certificates_mode": "letsencrypt", "certificates_public_names": ["a.lab.test"]},
        "nginx could not start before the first public certificate",
    ),
    (
        "half an account binding",
        {
            "certificates_mode": "letsencrypt",
            "certificates_public_names": ["a.lab.test"],
            "certificates_placeholder": "web",
            "certificates_acme_eab_key_id": "x",
        },
        "certificates_acme_eab_key_id and certificates_acme_eab_hmac_key go together",
    ),
    (
        "nothing provided",
        {
            "certificates_mode": "provided",
            "certificates_public_names": ["a.lab.test"],
            "certificates_placeholder": "web",
        },
        "is no file on the control node",
    ),
    ("no common name", {"certificates_services": [{"name": "a"}]}, "missing required arguments: common_name"),
]


@pytest.mark.parametrize(("variables", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refused_with_its_cause(host: Host, variables: dict[str, Any], message: str) -> None:
    before = serial(host, "web"), serial(host, "ca")
    done = converge(host, **variables)
    assert done.returncode != 0
    assert message in " ".join(done.stdout.split()), done.stdout
    assert (serial(host, "web"), serial(host, "ca")) == before
