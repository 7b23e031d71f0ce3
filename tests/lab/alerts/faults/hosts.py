"""Machines: what is full, busy or ends."""

from __future__ import annotations

from dataclasses import replace

from tests.lab.alerts.fault import PROGRAMS, Fault, each, ended, no_unit, running, stopped, together, unit

# File systems in memory under an overlay, because what lies in memory is not watched.
SMALL = "/srv/small-disk"
DISK = f"{SMALL}/disk"
AWAY = f"umount {DISK}; umount {SMALL}/memory; rm -r {SMALL}"
MOUNTED = {"mountpoint": DISK}


def _small_disk(options: str, filled: str, undo: str = "true") -> Fault:
    cause = together(
        f"mkdir -p {SMALL}/memory {DISK}",
        f"mount -t tmpfs -o {options} none {SMALL}/memory",
        f"cd {SMALL}/memory",
        "mkdir low up work",
        f"mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none {DISK}",
        filled,
    )
    return Fault(cause, f"{undo}; {AWAY}", where=MOUNTED, fills={"MOUNT": f"echo {DISK}"})


FULL_DISK = _small_disk("size=8m", f"head -c 8000000 /dev/zero > {DISK}/filling")

# Two thirds at once, and then 40 kB a second: in three minutes nothing like full, in a day it would be.
FILLING = running("filling", f"while head -c 40000 /dev/zero >> {DISK}/filling; do sleep 1; done")
FILLING_DISK = _small_disk(
    "size=48m,nr_inodes=40",
    f"head -c 32000000 /dev/zero > {DISK}/filling; {FILLING}; for i in $(seq 32); do : > {DISK}/$i; done",
    ended("filling"),
)

# Where systemd inside of the host can't bound memory (a machine with the older cgroups), this bounds it by hand.
BOUNDED = "/run/fault-memory"
TOO_MUCH = "python3 -c 'held = bytes(1) * (300 << 20)'"
OUT_OF_MEMORY = Fault(
    f"""
if grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
  systemd-run --quiet --wait --collect -p MemoryMax=40M -p MemorySwapMax=0 {TOO_MUCH} || true
else
  mkdir -p {BOUNDED} && mount -t cgroup -o memory none {BOUNDED} && mkdir {BOUNDED}/fault
  echo 40M > {BOUNDED}/fault/memory.limit_in_bytes
  sh -c "echo \\$\\$ > {BOUNDED}/fault/cgroup.procs; exec {TOO_MUCH}" || true
  rmdir {BOUNDED}/fault && umount {BOUNDED} && rmdir {BOUNDED}
fi
""",
    "true",
)

MENDED = "/run/fault-mended"

FAULTS = {
    # From outside a host that is away looks the same; that it is cut off is tested in molecule/prometheus.
    "HostDown": replace(stopped("prometheus-node-exporter"), fills={"HOST": "hostname -I | cut -d' ' -f1"}),
    "DiskFull": FULL_DISK,
    "DiskFillsUp": FILLING_DISK,
    "InodesLow": FILLING_DISK,
    # It fails until somebody puts a file there.
    "UnitFailed": Fault(
        f"{unit('fault-failing', f'test -e {MENDED}')}; ! systemctl start fault-failing 2>/dev/null",
        each("systemctl reset-failed 'fault-failing*'", no_unit("fault-failing"), f"rm -f {MENDED}"),
        where={"name": "fault-failing.service"},
        fills={"UNIT": "echo fault-failing"},
        mend=f"touch {MENDED}",
    ),
    "UnitRestarts": Fault(
        running("restarting", "sleep 1; exit 1", "-p Restart=always -p RestartSec=3 -p StartLimitIntervalSec=0"),
        ended("restarting"),
        where={"name": "fault-restarting.service"},
        fills={"UNIT": "echo fault-restarting"},
    ),
    "CpuBusy": Fault(
        running("busy", "for i in $(seq $(nproc)); do while :; do :; done & done; wait", "-p RuntimeMaxSec=150"),
        ended("busy"),
    ),
    "MemoryLow": Fault(running("memory", f"exec python3 {PROGRAMS}/hold_memory.py 12 300"), ended("memory")),
    "OutOfMemory": OUT_OF_MEMORY,
}
