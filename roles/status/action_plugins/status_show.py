"""All hosts' rows as one screen, what is wrong first; the task fails when something is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

ORDER = ("bad", "warn", "good")
COLOURS = {"bad": "red", "warn": "yellow", "good": "green"}
MARKS = {"bad": "BAD ", "warn": "warn", "good": "ok  "}


def screen(hosts: Mapping[str, Iterable[Mapping[str, str]]]) -> list[tuple[str, str]]:
    """Lines and their colours: the worst first, and by host within that."""
    rows = [(row["state"], host, row["what"], row["detail"]) for host, found in hosts.items() for row in found]
    rows.sort(key=lambda row: (ORDER.index(row[0]), row[1]))
    widths = [max((len(row[column]) for row in rows), default=0) for column in (1, 2)]
    return [
        (f"{MARKS[state]}  {host:{widths[0]}}  {what:{widths[1]}}  {detail}".rstrip(), COLOURS[state])
        for state, host, what, detail in rows
    ]


class ActionModule(ActionBase):
    """``hosts``: rows by host; ``unreached``: hosts that could not be asked."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fails, naming how much is wrong."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        hosts: dict[str, list[dict[str, str]]] = dict(self._task.args["hosts"])
        for host in self._task.args.get("unreached") or []:
            hosts[host] = [{"what": "host", "state": "bad", "detail": "can't be reached by SSH"}]
        for line, colour in screen(hosts):
            Display().display(line, color=colour)
        bad = sum(row["state"] == "bad" for rows in hosts.values() for row in rows)
        result |= {"changed": False, "failed": bad > 0, "bad": bad}
        result["msg"] = f"{bad} of these are wrong." if bad else "All is well."
        return result
