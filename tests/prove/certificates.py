"""The public certificate renewed, again and again, under a constant load on the whole stack."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab.lab import Lab
from lab.up import HOST, put_artifacts, service
from tests.lab.load import RATE_PER_S, ConstantLoad, Report
from tests.lab.stack.conftest import play
from tests.prove.scorecard import Figure

RENEWALS = 10
ACME = "acme"
NAME = f"{HOST}.lab.test"
ROOT_ON_ACME = "/etc/anchorage/acme-root.pem"
SETTINGS = "/etc/letsencrypt/renewal/anchorage.conf"


def measure() -> list[Figure]:
    """In a lab of its own: the stack on one host, Debian's ACME server on another."""
    with _lab() as lab:
        report, serials = _renew_under_load(lab)
    failures = ", ".join(f"{count} times {reason}" for reason, count in report.failures.items()) or "none"
    what = f"{RENEWALS} renewals by certbot under {RATE_PER_S:g} questions/s over HTTPS, requests that failed"
    met = not report.failures and len(serials) == RENEWALS + 1
    measured = f"{report.failures.total()} of {report.sent} ({failures}), {len(serials) - 1} new certificates served"
    return [Figure(what, "0", measured, met), Figure("the slowest of them", "-", f"{report.slowest_s:.2f} s", True)]


@contextmanager
def _lab() -> Iterator[Lab]:
    lab = Lab("prove-certificates")
    lab.down()
    try:
        lab.up([(HOST, "trixie"), (ACME, "trixie")])
        put_artifacts(lab)
        account = {"acme_eab_key_id": "lab", "acme_eab_hmac_key": secrets.token_urlsafe(48)}
        _play(lab, "tests/lab/acme/play.yml", "-e", json.dumps(account))
        variables = {
            "certificates_mode": "letsencrypt",
            "certificates_acme_directory_url": f"https://{ACME}.lab.test:14000/dir",
            "certificates_acme_ca_bundle": str(lab.directory / "secrets/ca/ca.crt"),
            **{f"certificates_{name}": value for name, value in account.items()},
            "certificates_acme_probe_from": ACME,
            # This machine knows no name of the lab.
            "smoke_from": ACME,
            "smoke_authority": ROOT_ON_ACME,
        }
        _play(lab, "site.yml", "--limit", HOST, "-e", json.dumps(variables))
        yield lab
    finally:
        lab.down()


def _play(lab: Lab, playbook: str, *options: str) -> None:
    done = play(lab, playbook, *options)
    if done.returncode != 0:
        raise RuntimeError(f"{playbook} failed:\n{done.stdout[-6000:]}")


def _renew_under_load(lab: Lab) -> tuple[Report, set[str]]:
    """What became of the requests, and the serial numbers that clients were shown."""
    edge, at = lab.host(HOST), service(lab)
    root = lab.host(ACME).execute("cat", ROOT_ON_ACME)
    load = ConstantLoad(
        f"{at.url}/api/v1/query",
        context=ssl.create_default_context(cadata=root),
        method="POST",
        headers={"Host": NAME, "Authorization": f"Bearer {at.api_key}"},
        json={"query": "What is this service?", "use_cache": False},
        extensions={"sni_hostname": NAME},
    )
    serials = {_served(edge.address, root)}
    # Pebble's certificates are valid for years: certbot is told to find that too short.
    edge.execute("sed", "-i", "1i renew_before_expiry = 9000 days", SETTINGS, root=True)
    with load:
        for _ in range(RENEWALS):
            edge.execute("systemctl", "start", "certbot.service", root=True)
            time.sleep(2)
            serials.add(_served(edge.address, root))
    return load.report, serials


def _served(address: str, root: str) -> str:
    """Serial number of the certificate that a new client gets."""
    context = ssl.create_default_context(cadata=root)
    with (
        socket.create_connection((address, 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as secure,
    ):
        return str((secure.getpeercert() or {})["serialNumber"])
