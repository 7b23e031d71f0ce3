"""Grafana's dashboards, as code: one module a dashboard. `python -m dashboards` writes them for the role `grafana`."""
