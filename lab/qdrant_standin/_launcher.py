"""`__main__.py` of the built artefact: load the engine's library out of the zip, then run the command.

A shared object can't be imported from a zip. It is copied into an anonymous file in memory and loaded from there: the
executable needs no directory of its own that is both writable and executable, so the unit's sandbox stays strict.
"""

import importlib.machinery
import os
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType

LIBRARY = "qdrant_edge.qdrant_edge"


class EngineFinder:
    """Finds only the engine's extension module."""

    @staticmethod
    def find_spec(
        name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != LIBRARY:
            return None
        content = pkgutil.get_data("qdrant_edge", "qdrant_edge.abi3.so")
        if content is None:
            return None
        memory = os.memfd_create("qdrant_edge.abi3.so", os.MFD_CLOEXEC)
        with open(memory, "wb", closefd=False) as file:
            file.write(content)
        path = f"/proc/self/fd/{memory}"
        loader = importlib.machinery.ExtensionFileLoader(name, path)
        return importlib.machinery.ModuleSpec(name, loader, origin=path)


if __name__ == "__main__":
    sys.meta_path.insert(0, EngineFinder)
    runpy.run_module("qdrant_standin", run_name="__main__", alter_sys=True)
