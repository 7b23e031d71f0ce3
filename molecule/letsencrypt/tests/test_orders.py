"""What a run orders, and what it says when there is nothing to be had."""

from __future__ import annotations

import time

from conftest import Converge, Edge
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://edge13"]


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_used_up_rate_limit_is_told_with_its_cure(edge: Edge, converge: Converge) -> None:
    before = edge.serial()
    done = converge(certificates_acme_directory_url="https://acme.lab.test:14001/dir")
    assert done.returncode != 0
    said = words(done.stdout)
    assert "too many certificates (5) already issued" in said
    assert "Run again after the time that it names" in said
    assert edge.serial() == before


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


def test_the_accounts_key_is_in_no_file_of_certbots_settings(host: Host) -> None:
    with host.sudo():
        assert host.run("grep -rlE 'eab.hmac' /etc/letsencrypt").stdout == ""


def test_a_change_of_names_or_key_gets_another_certificate(host: Host, edge: Edge, converge: Converge) -> None:
    done = converge(certificates_public_names=[edge.name], certificates_acme_key_curve="secp384r1")
    assert done.returncode == 0, done.stdout
    time.sleep(1)
    assert edge.served()["subjectAltName"] == (("DNS", edge.name),)
    with host.sudo():
        assert "secp384r1" in host.check_output("openssl x509 -noout -text -in /etc/anchorage/tls/public/fullchain.pem")
    again = converge(certificates_public_names=[edge.name], certificates_acme_key_curve="secp384r1")
    assert "changed=0 " in again.stdout, again.stdout
