"""Build the stand-in's package, named for what it is: `python build.py FOLDER` prints its path and SHA-256 as JSON."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
VERSION = "0.1+standin"
CONTROL = f"""Package: grafana
Version: {VERSION}
Architecture: all
Maintainer: Anchorage's tests <root@localhost>
Depends: python3, python3-yaml, adduser
Description: NOT Grafana: a stand-in that reads the same files, for tests of the role
"""
POSTINST = """#!/bin/sh
set -e
getent passwd grafana >/dev/null || adduser --quiet --system --group --no-create-home --home /usr/share/grafana grafana
install -d -o grafana -g grafana -m 0750 /var/lib/grafana /var/log/grafana
install -d -m 0755 /etc/grafana/provisioning
"""
UNIT = """[Unit]
Description=NOT Grafana: a stand-in for tests
After=network-online.target

[Service]
EnvironmentFile=/etc/default/grafana-server
User=grafana
Group=grafana
Type=notify
RuntimeDirectory=grafana
WorkingDirectory=/usr/share/grafana
ExecStart=/usr/share/grafana/bin/grafana server --config=${CONF_FILE} --homepath=/usr/share/grafana

[Install]
WantedBy=multi-user.target
"""


def build(folder: Path) -> Path:
    """The package's file; the same sources give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"grafana_{VERSION}_all.deb"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        files = {
            "DEBIAN/control": (CONTROL, 0o644),
            "DEBIAN/postinst": (POSTINST, 0o755),
            "usr/lib/systemd/system/grafana-server.service": (UNIT, 0o644),
            "etc/default/grafana-server": ("CONF_FILE=/etc/grafana/grafana.ini\n", 0o644),
            "usr/share/grafana/bin/grafana": ((HERE / "grafana.py").read_text(), 0o755),
        }
        for path, (content, mode) in files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            file.chmod(mode)
        built = ["dpkg-deb", "--root-owner-group", "--build", str(root), str(target)]
        subprocess.run(  # noqa: S603
            built, check=True, stdout=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "0"}
        )
    return target


if __name__ == "__main__":
    package = build(Path(sys.argv[1]))
    sys.stdout.write(json.dumps({"path": str(package), "sha256": hashlib.sha256(package.read_bytes()).hexdigest()}))
    shutil.rmtree(HERE / "__pycache__", ignore_errors=True)
