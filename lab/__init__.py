"""The lab: real Debian hosts with their own systemd, on one Linux machine, by systemd-nspawn.

`make up`, molecule and `tests/lab` all use it; `python -m lab --help` lists the verbs.
"""

from lab.lab import Lab, all_labs
from lab.system import LabError

__all__ = ["Lab", "LabError", "all_labs"]
