"""Lab stand-in for the Qdrant server: Qdrant's own engine (qdrant-edge-py) behind Qdrant's REST API.

It is NOT the real server. It exists because a lab without access to the publisher's release page still has to run the
real client, the real role and real data through the real protocol. It has no gRPC, no cluster, no JWT, no strict mode
and no background optimiser; what depends on those is not proven by it. Every version string it gives says so.
"""

from __future__ import annotations

import os
import pkgutil

ENGINE = "qdrant-edge-py 0.9.0"
COMMIT = "lab-edge"
TITLE = "qdrant lab stand-in (real engine, not the real server)"
DEFAULT_VERSION = "1.19.0"
BUILD_VERSION = "BUILD_VERSION"  # file written into the artefact by build.py


def version() -> str:
    """Server version to report: `QDRANT_STANDIN_VERSION`, else what the artefact was built as, else the default."""
    from_env = os.environ.get("QDRANT_STANDIN_VERSION")
    if from_env:
        return from_env
    try:
        built_as = pkgutil.get_data(__name__, BUILD_VERSION)
    except FileNotFoundError:
        return DEFAULT_VERSION
    return built_as.decode().strip() if built_as else DEFAULT_VERSION


def version_line() -> str:
    """What `qdrant --version` prints; it begins like the real server's line, then says what this is."""
    return f"qdrant {version()} ({COMMIT}: {TITLE}, engine {ENGINE})"
