"""The machines: processors, memory, disks, network, and what systemd says of their services."""

from __future__ import annotations

from dashboards.board import Board, Row, host_with
from dashboards.panels import (
    BYTES_PER_SECOND,
    COUNT,
    RATIO,
    SECONDS,
    About,
    Panel,
    Query,
    bars,
    lines,
    number,
    rows,
)

HERE = 'instance=~"$host"'
DISKS = f'fstype!~"tmpfs|ramfs",{HERE}'
DAY, YEAR = 86400, 365 * 86400


def board() -> Board:
    """What runs out first stands first."""
    return Board(
        "hosts",
        "Hosts",
        "Processors, memory, disks, network, services and clock of every machine.",
        [
            Row("", [_up(), _busiest(), _fullest(), _least_disk(), _failed(), _restarts()]),
            Row("Disks", [_days_left(), _space(), _inodes(), _disk_busy()]),
            Row("Processors and memory", [_processors(), _memory(), _waiting(), _killed()]),
            Row("Services and clock", [_units(), _restarts_over_time(), _clock(), _network()]),
        ],
        [host_with('up{job="node"}')],
    )


def _busy() -> str:
    return f'1 - avg by (instance) (rate(node_cpu_seconds_total{{mode="idle",{HERE}}}[5m]))'


def _taken() -> str:
    return f"1 - node_memory_MemAvailable_bytes{{{HERE}}} / node_memory_MemTotal_bytes"


def _free() -> str:
    """Space that is left of each disk which can be written."""
    return f"node_filesystem_avail_bytes{{{DISKS}}} / node_filesystem_size_bytes and node_filesystem_readonly == 0"


def _up() -> Panel:
    about = About("Hosts that answer", "Of those in the inventory.", COUNT, runbooks=["HostDown"], bad_below=1)
    return number(about, Query(f'sum(up{{job="node",{HERE}}})'))


def _busiest() -> Panel:
    about = About("Busiest processors", "Of the host whose are busiest.", RATIO, alerts=["CpuBusy"])
    return number(about, Query(f"max({_busy()})"))


def _fullest() -> Panel:
    about = About("Most memory taken", "On the host that has least left.", RATIO, alerts=["MemoryLow"])
    return number(about, Query(f"max({_taken()})"))


def _least_disk() -> Panel:
    about = About("Least disk left", "Of the disk with the smallest share of free space.", RATIO, alerts=["DiskFull"])
    return number(about, Query(f"min({_free()})"))


def _failed() -> Panel:
    about = About(
        "Failed units", "That systemd has given up; the list below says which.", COUNT, runbooks=["UnitFailed"]
    )
    return number(about, Query(f'sum(node_systemd_unit_state{{state="failed",{HERE}}})'))


def _restarts() -> Panel:
    about = About("Restarts in an hour", "Of services that ended by themselves.", COUNT, runbooks=["UnitRestarts"])
    return number(about, Query(f"sum(increase(node_systemd_service_restart_total{{{HERE}}}[1h]))", now=True))


def _days_left() -> Panel:
    about = About(
        "Time until full",
        "If each disk goes on filling as in the last six hours; a year stands for never.",
        SECONDS,
        runbooks=["DiskFillsUp"],
        bad_below=DAY,
    )
    free = f"node_filesystem_avail_bytes{{{DISKS}}}"
    left = f"{free} / clamp_min(-deriv({free}[6h]), 1) and node_filesystem_readonly == 0"
    return bars(about, Query(f"clamp_max({left}, {YEAR})", "{{instance}} {{mountpoint}}", now=True), most=YEAR)


def _space() -> Panel:
    about = About("Space left", "Of each disk that can be written.", RATIO, alerts=["DiskFull"])
    return lines(about, Query(_free(), "{{instance}} {{mountpoint}}"), most=1)


def _inodes() -> Panel:
    about = About("Inodes left", "At none no file can be made, although there is space.", RATIO, alerts=["InodesLow"])
    left = f"node_filesystem_files_free{{{DISKS}}} / node_filesystem_files and node_filesystem_readonly == 0"
    return lines(about, Query(left, "{{instance}} {{mountpoint}}"), most=1)


def _disk_busy() -> Panel:
    about = About("Disks at work", "Share of time in which a disk had something to do.", RATIO)
    return lines(
        about,
        Query(f"rate(node_disk_io_time_seconds_total{{{HERE}}}[$__rate_interval])", "{{instance}} {{device}}"),
        most=1,
    )


def _processors() -> Panel:
    about = About("Processors busy", "All of a host together, over five minutes.", RATIO, alerts=["CpuBusy"])
    return lines(about, Query(_busy(), "{{instance}}"), most=1)


def _memory() -> Panel:
    about = About(
        "Memory taken", "What could be freed at once, such as file caches, is not counted.", RATIO, alerts=["MemoryLow"]
    )
    return lines(about, Query(_taken(), "{{instance}}"), most=1)


def _waiting() -> Panel:
    about = About(
        "Work that waits",
        "Share of time in which something waited for a processor, a disk or memory (pressure).",
        RATIO,
    )
    return lines(
        about,
        *(
            Query(
                f"rate(node_pressure_{what}_waiting_seconds_total{{{HERE}}}[$__rate_interval])",
                f"{{{{instance}}}} {what}",
            )
            for what in ("cpu", "io", "memory")
        ),
    )


def _killed() -> Panel:
    about = About("Ended by the kernel for memory", "Processes in ten minutes.", COUNT, alerts=["OutOfMemory"])
    return lines(about, Query(f"increase(node_vmstat_oom_kill{{{HERE}}}[10m])", "{{instance}}"))


def _units() -> Panel:
    about = About(
        "Units that failed, or restarted in the last hour",
        "Empty is good. The journal of each has the cause.",
        COUNT,
        runbooks=["UnitFailed", "UnitRestarts"],
    )
    failed = f'node_systemd_unit_state{{state="failed",{HERE}}} == 1'
    restarted = f"increase(node_systemd_service_restart_total{{{HERE}}}[1h]) > 0"
    return rows(
        about,
        Query(f"({failed}) or ({restarted})", now=True),
        columns={"name": "Unit", "instance": "Host", "state": "State"},
    )


def _restarts_over_time() -> Panel:
    about = About(
        "Restarts",
        "Of all services of a host in ten minutes; the alert looks at each one.",
        COUNT,
        alerts=["UnitRestarts"],
    )
    return lines(
        about, Query(f"sum by (instance) (increase(node_systemd_service_restart_total{{{HERE}}}[10m]))", "{{instance}}")
    )


def _clock() -> Panel:
    about = About(
        "Clock against Prometheus' own",
        "With the time that a scrape takes, so some hundredths are none.",
        SECONDS,
        alerts=["ClockWrong"],
    )
    here = f"node_time_seconds{{{HERE}}}"
    return lines(about, Query(f"abs({here} - timestamp({here}))", "{{instance}}"))


def _network() -> Panel:
    about = About("Network", "Received and sent, by device.", BYTES_PER_SECOND)
    device = f'device!="lo",{HERE}'
    return lines(
        about,
        *(
            Query(
                f"rate(node_network_{verb}_bytes_total{{{device}}}[$__rate_interval])",
                f"{{{{instance}}}} {{{{device}}}} {word}",
            )
            for verb, word in (("receive", "in"), ("transmit", "out"))
        ),
    )
