"""Where the package comes from, and what else is not taken from there."""

from __future__ import annotations

import re

from ask import converge, words
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://grafana13"]


def test_only_the_key_with_the_fingerprint_is_trusted(host: Host) -> None:
    with host.sudo():
        wanted = host.check_output("cat /opt/source/fingerprint")
        offered = host.check_output("gpg --batch --with-colons --show-keys /opt/source/www/keys.asc")
        trusted = host.check_output("gpg --batch --with-colons --show-keys /etc/apt/keyrings/grafana-*.gpg")
    assert offered.count("pub:") == 2
    assert trusted.count("pub:") == 1
    assert f":{wanted}:" in trusted


def test_nothing_else_is_taken_from_the_source(host: Host) -> None:
    policy = host.check_output("apt-cache policy")
    assert "-1 http://127.0.0.1:8099 stable/main" in policy
    assert re.search(r"0\.1\+standin 500$", host.check_output("apt-cache policy grafana"), re.MULTILINE)


def test_another_key_is_refused_and_what_was_trusted_stays(host: Host) -> None:
    before = host.check_output("sha256sum /etc/apt/keyrings/* /etc/apt/sources.list.d/grafana.sources")
    done = converge(host, grafana_apt_key_fingerprint="0123456789ABCDEF0123456789ABCDEF01234567")
    assert done.returncode != 0
    assert "it holds no key 0123456789ABCDEF0123456789ABCDEF01234567, but" in words(done)
    assert host.check_output("sha256sum /etc/apt/keyrings/* /etc/apt/sources.list.d/grafana.sources") == before


def test_a_changed_package_is_refused(host: Host) -> None:
    with host.sudo():
        host.check_output("apt-get remove --yes grafana")
        host.check_output("cp /opt/source/www/pool/grafana.deb /opt/kept.deb; echo >> /opt/source/www/pool/grafana.deb")
        try:
            host.check_output("rm -f /var/cache/apt/archives/grafana_*")
            done = converge(host)
        finally:
            host.check_output("mv /opt/kept.deb /opt/source/www/pool/grafana.deb")
    assert done.returncode != 0
    assert re.search("unexpected size|Hash Sum mismatch", words(done))
    again = converge(host)
    assert again.returncode == 0, words(again)
