"""A certificate by ACME: issued, renewed under load; and a failed renewal is told."""

from __future__ import annotations

import re
import ssl
import time

import pytest
from conftest import METRICS, Edge
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.lab.load import ConstantLoad

SETTINGS = "/etc/letsencrypt/renewal/anchorage.conf"
# Pebble's certificates are valid for years.
DUE = "renew_before_expiry = 9000 days"
testinfra_hosts = ["ansible://edge13", "ansible://edge12"]


def metric(host: Host, name: str) -> float:
    found = re.search(rf"^{name}(?:{{.*}})? (\S+)$", host.file(METRICS).content_string, re.MULTILINE)
    assert found, host.file(METRICS).content_string
    return float(found[1])


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
