"""A clock that nobody keeps.

A lab host has the machine's clock, which no test may set. So the lie is told at the last place before it: who asks the
kernel how the clock is kept is told that it is not, and who sets it that this was done. Exporter and chronyd are the
real ones.
"""

from __future__ import annotations

from tests.lab.alerts.fault import Fault, each, ended, running, together

EXPORTER = "prometheus-node-exporter"
COMMAND = f"/etc/systemd/system/{EXPORTER}.service.d/10-anchorage.conf"
DROP_INS = f"/run/systemd/system/{EXPORTER}.service.d"
TIME_ERROR = 5
_MAX_ERROR_US, _TICK_US = 17_000_000, 10_000


def _timex() -> str:
    """``struct timex`` of a 64-bit machine as far as its tick, in hexadecimal; all but two fields are 0."""
    words = [0] * 12
    words[3], words[11] = _MAX_ERROR_US, _TICK_US
    return b"".join(word.to_bytes(8, "little") for word in words).hex()


TOLD = (
    "/usr/bin/strace -qq -f -o /dev/null -e trace=adjtimex,clock_adjtime,settimeofday,clock_settime "
    f"-e inject=adjtimex:retval={TIME_ERROR}:poke_exit=@arg1={_timex()} "
    f"-e inject=clock_adjtime:retval={TIME_ERROR}:poke_exit=@arg2={_timex()} "
    "-e inject=settimeofday,clock_settime:retval=0"
)
AGAIN = f"systemctl daemon-reload; systemctl restart {EXPORTER}"

FAULTS = {
    "ClockWrong": Fault(
        together(
            "[ -x /usr/bin/strace ] || { apt-get update && apt-get install -y strace; } >/dev/null",
            f"mkdir -p {DROP_INS}",
            # The role turns the collector off in a container; strace may not be called from the exporter's sandbox.
            f"(echo '[Service]'; echo ExecStart=; echo SystemCallFilter=; sed -n "
            f"'s|^ExecStart=/|ExecStart={TOLD} /|; s| --no-collector[.]timex||; /^ExecStart=.*strace/p' {COMMAND}) "
            f"> {DROP_INS}/90-fault.conf",
            AGAIN,
            running("clock", f"rm -rf /run/chrony; exec {TOLD} chronyd -d -u root"),
        ),
        each(ended("clock"), f"rm -f {DROP_INS}/90-fault.conf", AGAIN),
    ),
}
