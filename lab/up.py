"""`make up`: a lab VM, the whole stack on it, a sample corpus, and three questions answered over HTTPS."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.lab import Lab
from lab.system import LabError, require, run

ROOT = Path(__file__).resolve().parents[1]
HOST = "anchorage"
CORPUS_PACKAGE = "postgresql-doc"
# The server-administration part of the manual, by the names of its pages.
CORPUS_PREFIXES = tuple(
    (
        "admin backup client-authentication continuous-archiving creating-cluster diskusage file-locations "
        "high-availability hot-standby installation kernel-resources logical-replication maintenance manage-ag "
        "managing-databases monitoring mvcc preventing-server progress-reporting recovery role routine runtime "
        "server-shutdown server-start ssh-tunnels ssl-tcp upgrading user-manag wal warm-standby"
    ).split()
)
QUESTIONS = (
    "How can I limit the number of concurrent connections to the server?",
    "What does VACUUM do about transaction ID wraparound?",
    "How does Anchorage hand a secret to its services?",
)


@dataclass(frozen=True, slots=True)
class Service:
    """How a client reaches the service of a lab."""

    url: str
    api_key: str
    ca_file: Path

    def environment(self) -> dict[str, str]:
        """For the `anchorage` command."""
        return {
            "ANCHORAGE_URL": self.url,
            "ANCHORAGE_API_KEY": self.api_key,
            "ANCHORAGE_CA_FILE": str(self.ca_file),
        }


def bring_up(lab: Lab) -> None:
    """Boot the VM and put what the lab itself provides where the inventory expects it."""
    lab.up([(HOST, "trixie")])
    put_artifacts(lab)


def put_artifacts(lab: Lab) -> None:
    """Build the lab's Qdrant and keep it under a name without a version."""
    directory = lab.directory / "artifacts"
    directory.mkdir(exist_ok=True)
    target, digest = directory / "qdrant.tar.gz", directory / "qdrant.sha256"
    sources = [*(ROOT / "lab/qdrant_standin").glob("*.py"), ROOT / "requirements/dev.txt"]
    if digest.exists() and digest.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return
    built = json.loads(run(sys.executable, "-m", "lab.qdrant_standin.build", directory))
    Path(built["path"]).replace(target)
    digest.write_text(hashlib.sha256(target.read_bytes()).hexdigest())


def play(lab: Lab, playbook: str, *options: str) -> None:
    """Run a playbook on the lab, its output on this terminal.

    Raises:
        LabError: it failed; its own last lines say at which task.
    """
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventories/lab", playbook, *options]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "ANCHORAGE_LAB": lab.name, "PATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)  # noqa: S603
    if done.returncode != 0:
        raise LabError(
            f"{playbook} failed at the task above. Look around with `.venv/bin/python -m lab ssh {lab.name} {HOST}`, "
            f"in the journal with `.venv/bin/python -m lab exec {lab.name} {HOST} -- journalctl -p warning`, "
            "then run the same again: it goes on where it stopped."
        )


@cache
def service(lab: Lab, host: str = HOST) -> Service:
    """The address of the edge and the first key of the service, read from the vault once a process."""
    vault = lab.directory / "secrets/vault.yml"
    viewer = Path(sys.executable).parent / "ansible-vault"
    said = run(viewer, "view", "--vault-password-file", ROOT / ".vault-password", vault)
    key = next(line.split(": ", 1)[1].strip() for line in said.splitlines() if line.startswith("admin_api_key"))
    return Service(f"https://{lab.host(host).address}", key, lab.directory / "secrets/ca/ca.crt")


def corpus(target: Path) -> Path:
    """A folder of about a hundred manual pages and this project's own documents (made once)."""
    if (target / "complete").exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    (target / "postgres").mkdir(parents=True)
    with_package = target / "package"
    with_package.mkdir()
    name = run("apt-cache", "depends", "--no-recommends", CORPUS_PACKAGE).split("Depends: ")[-1].split()[0]
    done = subprocess.run(["apt-get", "download", "-qq", name], cwd=with_package, check=False, capture_output=True)  # noqa: S603, S607
    packages = list(with_package.glob("*.deb"))
    if done.returncode != 0 or not packages:
        raise LabError(f"could not download {name}: {done.stderr.decode().strip()}. Is `apt-get update` due?")
    run("dpkg-deb", "--extract", packages[0], with_package)
    for page in sorted(with_package.rglob("*.html")):
        if page.name.startswith(CORPUS_PREFIXES):
            shutil.copy(page, target / "postgres")
    shutil.rmtree(with_package)
    shutil.copytree(ROOT / "docs", target / "anchorage", ignore=shutil.ignore_patterns("scorecard.md"))
    shutil.copy(ROOT / "README.md", target / "anchorage")
    (target / "complete").touch()
    return target


def anchorage(at: Service, *words: str) -> str:
    """The `anchorage` command as a user would call it; returns what it printed."""
    command = [str(Path(sys.executable).parent / "anchorage"), *words]
    done = subprocess.run(  # noqa: S603
        command, env={**os.environ, **at.environment()}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"`anchorage {words[0]}` failed: {done.stdout}")
    return done.stdout


def main() -> int:
    """Do it all; a failure names its step."""
    lab = Lab(os.environ.get("ANCHORAGE_LAB", "up"))
    started = time.monotonic()
    steps: Sequence[tuple[str, Callable[[], None]]] = (
        ("Can a lab run here?", require),
        (f"Boot the VM {HOST!r} (Debian 13)", lambda: bring_up(lab)),
        ("Provision it: site.yml", lambda: play(lab, "site.yml")),
        ("Feed it: the Postgres manual on server administration, and this project's documents", lambda: _feed(lab)),
        ("Ask it, over HTTPS", lambda: _ask(lab)),
    )
    for number, (title, action) in enumerate(steps, start=1):
        print(f"\n[{number}/{len(steps)}] {title}", flush=True)  # noqa: T201
        at = time.monotonic()
        try:
            action()
        except LabError as error:
            print(f"\nmake up stopped at step {number} ({title}): {error}", file=sys.stderr)  # noqa: T201
            return 1
        print(f"      {time.monotonic() - at:.1f} s", flush=True)  # noqa: T201
    _tell(lab, time.monotonic() - started)
    return 0


def _feed(lab: Lab) -> None:
    print(anchorage(service(lab), "ingest", str(corpus(lab.directory / "corpus"))).strip())  # noqa: T201


def _ask(lab: Lab) -> None:
    at = service(lab)
    for question in QUESTIONS:
        print(f"\n  {question}", flush=True)  # noqa: T201
        for line in anchorage(at, "ask", question).splitlines():
            print(f"    {line}")  # noqa: T201


def _tell(lab: Lab, seconds: float) -> None:
    at = service(lab)
    print(  # noqa: T201
        f"""
Anchorage is up after {seconds:.0f} s.

  service   {at.url}  (health: {at.url}/health)
  CA        {at.ca_file}
  VM        .venv/bin/python -m lab ssh {lab.name} {HOST}

Try next:
  export ANCHORAGE_URL={at.url} ANCHORAGE_CA_FILE={at.ca_file} ANCHORAGE_API_KEY=$(make -s key)
  .venv/bin/anchorage ask "How do I take a base backup?"
  .venv/bin/anchorage ingest ~/Documents
  .venv/bin/ansible-playbook -i inventories/lab site.yml --check --diff
  make down
"""
    )


if __name__ == "__main__":
    sys.exit(main())
