"""The lab: real Debian hosts with their own systemd, on one Linux machine, by systemd-nspawn.

`make up`, molecule and `tests/lab` all use it; `python -m lab --help` lists the verbs.
"""

from lab.host import Host
from lab.lab import HostSpec, Lab, all_labs
from lab.system import LabError

__all__ = ["Host", "HostSpec", "Lab", "LabError", "all_labs"]
