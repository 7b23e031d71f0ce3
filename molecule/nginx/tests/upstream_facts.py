"""What the service behind the edge streams; see upstream.py, which runs on the host and can't be imported."""

EVENTS, GAP_S = 5, 0.4
