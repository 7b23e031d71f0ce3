#!/usr/bin/env python3
"""The lab `$ANCHORAGE_LAB` (`up` if unset) as an inventory."""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab.inventory import ansible_inventory
from lab.lab import Lab

print(json.dumps(ansible_inventory(Lab(os.environ.get("ANCHORAGE_LAB", "up")))))  # noqa: T201
