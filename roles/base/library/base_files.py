#!/usr/bin/python
"""Write several small configuration files in one task: a module call costs a fifth of a second, whatever it does."""

from __future__ import annotations

import grp
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: base_files
short_description: Write several configuration files, all or none
description:
  - Every file that differs is checked by its own checker first; none is put in place unless all are accepted.
  - Files belong to root. Missing folders are made with mode 0755.
  - Any role may use it; ansible.cfg names its folder.
options:
  files:
    type: list
    elements: dict
    required: true
    description: The files.
    suboptions:
      path: {type: path, required: true, description: Where it stands.}
      content: {type: str, description: The whole of it.}
      words: {type: dict, description: "Of a file of `NAME value` lines that stays as it is otherwise: the values."}
      mode: {type: str, default: "0644", description: Its mode, in octal.}
      group: {type: str, default: root, description: "Its group; check mode takes one that is missing for made later."}
      validate: {type: str, description: "Command line that accepts it; %s is the new file."}
  modes:
    type: dict
    description:
      - Modes, in octal, of files of the distribution that are there, and of folders, which are made.
      - A folder's name ends with a slash.
author: Anchorage
"""
FILE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "words": {"type": "dict"},
    "mode": {"type": "str", "default": "0644"},
    "group": {"type": "str", "default": "root"},
    "validate": {"type": "str"},
}


def with_words(text: str, words: dict[str, str]) -> str:
    """The text with each `NAME value` line set; a commented one is taken over, a missing one comes at the end."""
    for name, value in words.items():
        line = f"{name}\t{value}"
        # An active line, if there is one; else the first that is commented out, which prose about it is not.
        for pattern in (rf"^{name}[ \t].*$", rf"^#[ \t]*{name}[ \t]+\S+$"):
            text, found = re.subn(pattern, line, text, count=1, flags=re.MULTILINE)
            if found:
                break
        else:
            text = f"{text.rstrip()}\n{line}\n"
    return text


def group_id(name: str) -> int | None:
    """None when the host has no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def present(path: Path, group: int | None) -> tuple[str, str]:
    """What the file holds, and its mode in octal; no mode when there is none, or it is not root's and the group's."""
    if not path.is_file():
        return "", ""
    status = path.stat()
    return path.read_text(), f"{status.st_mode & 0o7777:04o}" if (status.st_uid, status.st_gid) == (0, group) else ""


def other_mode(path: Path, mode: int) -> bool:
    """Whether it is there with another mode."""
    return path.exists() and path.stat().st_mode & 0o7777 != mode


def has_to_change(name: str, mode: str) -> bool:
    """Whether a file has another mode, or a folder has it or is missing: a package that comes later would open it."""
    return other_mode(Path(name), int(mode, 8)) or (name.endswith("/") and not Path(name).exists())


def staged(module: AnsibleModule, path: Path, content: str, validate: str | None) -> str:
    """Name of a temporary file with the content, accepted by the checker; a refusal ends the module."""
    descriptor, name = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    if validate:
        status, out, error = module.run_command(validate % name)
        if status != 0:
            module.fail_json(msg=f"{path} was not accepted, and nothing was changed: {(error or out).strip()}")
    return name


def main() -> None:
    """Find what differs, check all of it, then put it in place."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": FILE},
            "modes": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    # Folders are made for all to read, whatever the session's mask.
    os.umask(0o022)
    differences: list[dict[str, str]] = []
    wanted: list[tuple[dict[str, Any], str]] = []
    for file in module.params["files"]:
        path = Path(file["path"])
        before, mode = present(path, group_id(file["group"]))
        after = with_words(before, file["words"]) if file["words"] else file["content"]
        if (before, mode) != (after, file["mode"]):
            wanted.append((file, after))
            differences.append(
                {
                    "before_header": f"{path} {mode}",
                    "after_header": f"{path} {file['mode']}",
                    "before": before,
                    "after": after,
                }
            )
    looser = {path: mode for path, mode in module.params["modes"].items() if has_to_change(path, mode)}
    differences += [{"before": f"{path} as it was\n", "after": f"{path} {mode}\n"} for path, mode in looser.items()]
    if not module.check_mode:
        names = [staged(module, Path(file["path"]), after, file["validate"]) for file, after in wanted]
        for (file, _), name in zip(wanted, names, strict=True):
            target = Path(file["path"])
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            module.atomic_move(name, str(target))
            target.chmod(int(file["mode"], 8))
            os.chown(target, 0, grp.getgrnam(file["group"]).gr_gid)
        for path, mode in looser.items():
            if path.endswith("/"):
                Path(path).mkdir(exist_ok=True)
            Path(path).chmod(int(mode, 8))
    paths = [file["path"] for file, _ in wanted] + list(looser)
    module.exit_json(changed=bool(paths), paths=paths, diff=differences)


if __name__ == "__main__":
    main()
