"""A certificate by ACME: issued, renewed under load, refused; and a failed renewal is told."""

from __future__ import annotations

import re
import ssl
import time

import pytest
from conftest import METRICS, Converge, Edge
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.lab.load import ConstantLoad

SETTINGS = "/etc/letsencrypt/renewal/anchorage.conf"
# Pebble's certificates are valid for years.
DUE = "renew_before_expiry = 9000 days"
ONE = pytest.mark.parametrize("host", ["ansible://edge13"], indirect=True)
testinfra_hosts = ["ansible://edge13", "ansible://edge12"]


def metric(host: Host, name: str) -> float:
    found = re.search(rf"^{name}(?:{{.*}})? (\S+)$", host.file(METRICS).content_string, re.MULTILINE)
    assert found, host.file(METRICS).content_string
    return float(found[1])


def words(text: str) -> str:
    return " ".join(text.split())


def test_clients_of_the_acme_server_trust_every_name(edge: Edge) -> None:
    for name in (edge.name, f"www.{edge.name}"):
        served = edge.served(name=name)
        assert ("DNS", name) in served["subjectAltName"]
    with pytest.raises(ssl.SSLCertVerificationError):
        edge.served(edge.internal)


@pytest.mark.usefixtures("upstream")
def test_a_renewal_under_load_fails_no_request(host: Host, edge: Edge) -> None:
    before = edge.serial()
    url, headers = f"https://{edge.address}/x", {"Host": edge.name}
    with (
        ConstantLoad(url, context=edge.context(), headers=headers, extensions={"sni_hostname": edge.name}) as load,
        host.sudo(),
    ):
        time.sleep(1)
        # As certbot would be when it is due: through its unit, in its sandbox.
        host.check_output(
            f"sed -i '1i {DUE}' {SETTINGS} && systemctl start certbot.service && sed -i '/^{DUE}/d' {SETTINGS}"
        )
        time.sleep(1)
    assert edge.serial() != before
    assert load.report.sent > 20
    assert load.report.failures == {}
    assert metric(host, "anchorage_public_certificate_renewal_success") == 1
    assert abs(metric(host, "anchorage_public_certificate_renewal_timestamp_seconds") - time.time()) < 60
    assert metric(host, "anchorage_public_certificate_not_after_timestamp_seconds") == ssl.cert_time_to_seconds(
        edge.served()["notAfter"]
    )


def test_renewal_is_timed_with_jitter_and_sandboxed(host: Host) -> None:
    assert host.service("certbot.timer").is_enabled
    assert host.service("certbot.timer").is_running
    assert host.check_output("systemctl show -P RandomizedDelayUSec certbot.timer") == "12h"
    with host.sudo():
        report = host.check_output("systemd-analyze security --no-pager certbot.service")
    found = re.search(r"Overall exposure level for certbot.service: ([0-9.]+)", report)
    assert found, report
    assert float(found[1]) <= 2.0


def test_a_failed_renewal_is_told_and_the_old_certificate_serves_on(host: Host, edge: Edge) -> None:
    before = edge.serial()
    with host.sudo():
        host.check_output(f"cp {SETTINGS} /root/kept.conf && sed -i -e '1i {DUE}' -e 's/:14000/:14009/' {SETTINGS}")
        assert host.run("systemctl start certbot.service").rc != 0
        journal = "journalctl -p err -u anchorage-certificate-renewal-failed -o cat"
        host.check_output(f"timeout 20 sh -c 'until {journal} | grep -q ends; do sleep 0.2; done'")
        told = host.check_output(journal)
        assert "The public certificate was not renewed" in told
        assert "journalctl -u certbot" in told
        assert metric(host, "anchorage_public_certificate_renewal_success") == 0
        host.check_output(f"mv /root/kept.conf {SETTINGS} && systemctl reset-failed && systemctl start certbot.service")
    assert metric(host, "anchorage_public_certificate_renewal_success") == 1
    assert edge.serial() == before


@ONE
def test_a_used_up_rate_limit_is_told_with_its_cure(edge: Edge, converge: Converge) -> None:
    before = edge.serial()
    done = converge(certificates_acme_directory_url="https://acme.lab.test:14001/dir")
    assert done.returncode != 0
    said = words(done.stdout)
    assert "too many certificates (5) already issued" in said
    assert "Run again after the time that it names" in said
    assert edge.serial() == before


@ONE
def test_a_name_that_leads_elsewhere_is_told_before_anything_is_ordered(edge: Edge, converge: Converge) -> None:
    before = edge.serial()
    done = converge(certificates_public_names=[edge.name, "nowhere.lab.test", "acme.lab.test"])
    assert done.returncode != 0
    said = words(done.stdout)
    for name in ("nowhere.lab.test", "acme.lab.test"):
        assert f"http://{name}/.well-known/acme-challenge/ does not lead to edge13" in said
    assert "A and AAAA records" in said
    assert "Nothing was ordered" in said
    assert edge.serial() == before


@ONE
def test_the_accounts_key_is_in_no_file_of_certbots_settings(host: Host) -> None:
    with host.sudo():
        assert host.run("grep -rlE 'eab.hmac' /etc/letsencrypt").stdout == ""


@ONE
def test_a_change_of_names_or_key_gets_another_certificate(host: Host, edge: Edge, converge: Converge) -> None:
    done = converge(certificates_public_names=[edge.name], certificates_acme_key_curve="secp384r1")
    assert done.returncode == 0, done.stdout
    time.sleep(1)
    assert edge.served()["subjectAltName"] == (("DNS", edge.name),)
    with host.sudo():
        assert "secp384r1" in host.check_output("openssl x509 -noout -text -in /etc/anchorage/tls/public/fullchain.pem")
    again = converge(certificates_public_names=[edge.name], certificates_acme_key_curve="secp384r1")
    assert "changed=0 " in again.stdout, again.stdout
