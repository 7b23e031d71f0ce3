"""What happens when a certificate is due, its names change, or the authority grows old."""

from __future__ import annotations

import re

from rerun import TLS, converge, serial
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://cert13"]


def reloads(host: Host) -> int:
    return int(host.check_output("cat /run/web-reloads 2>/dev/null | wc -l"))


def test_due_certificates_are_renewed_with_the_same_key_and_units_are_told(host: Host) -> None:
    before, told = (serial(host, "web"), serial(host, "mail")), reloads(host)
    with host.sudo():
        key = host.file(f"{TLS}/web.key").sha256sum
    # The present certificates have 365 days left: due, when renewal is at 366.
    done = converge(host, certificates_validity_days=400, certificates_renew_before_days=366)
    assert done.returncode == 0, done.stdout
    after = (serial(host, "web"), serial(host, "mail"))
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert reloads(host) == told + 1
    with host.sudo():
        assert host.file(f"{TLS}/web.key").sha256sum == key
        assert host.run(f"openssl verify -CAfile {TLS}/ca.crt {TLS}/web.crt").rc == 0
    again = converge(host, certificates_validity_days=400, certificates_renew_before_days=366)
    assert re.search(r"changed=0 ", again.stdout), again.stdout
    assert (serial(host, "web"), reloads(host)) == (after[0], told + 1)


def test_another_name_makes_another_certificate(host: Host) -> None:
    before = serial(host, "web"), serial(host, "mail")
    service = {"name": "web", "common_name": "web.lab.test", "subject_alt_names": ["DNS:new.lab.test"]}
    done = converge(host, certificates_services=[service])
    assert done.returncode == 0, done.stdout
    assert serial(host, "web") != before[0]
    assert serial(host, "mail") == before[1]
    assert "DNS:new.lab.test" in host.check_output(f"openssl x509 -noout -ext subjectAltName -in {TLS}/web.crt")


def test_authority_is_renewed_with_its_key_so_that_old_certificates_stay_trusted(host: Host) -> None:
    old = serial(host, "ca")
    # The authority's 3650 days are fewer than one service certificate's life of 3660.
    days = {"certificates_ca_validity_days": 7300, "certificates_validity_days": 3660}
    leaf = serial(host, "mail")
    done = converge(host, **days)
    assert done.returncode == 0, done.stdout
    assert serial(host, "ca") != old
    assert serial(host, "mail") == leaf
    assert host.run(f"openssl verify -x509_strict -CAfile {TLS}/ca.crt {TLS}/mail.crt").rc == 0
