"""Every panel of every dashboard has data: its query is run against the stack's own Prometheus.

Grafana itself is not there (docs/lab.md). What backups, drills, deploys and the look for drift tell, the test writes.
"""

from __future__ import annotations

import pytest

from tests.lab.dashboards import something_of_all, until_all_have_data, variables_without_values
from tests.lab.stack.conftest import Stack

pytestmark = pytest.mark.lab
# The month's budget is evaluated each two minutes.
SECONDS = 180


def test_every_panel_has_data(stack: Stack) -> None:
    with stack.client() as client, something_of_all(stack.ask, client):
        assert until_all_have_data(stack.ask, SECONDS) == []
        assert variables_without_values(stack.ask) == []
