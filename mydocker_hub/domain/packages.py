"""Lists of packages as people paste them into a form."""

from __future__ import annotations

import re

from .images import Tool

_COMMANDS = {
    Tool.APT: re.compile(r"(?:sudo\s+)?apt(?:-get)?\s+install\s+"),
    Tool.PIP: re.compile(r"[!%]?\s*(?:python3?\s+-m\s+)?pip3?\s+install\s+"),
    Tool.CONDA: re.compile(r"[!%]?\s*(?:conda|mamba|micromamba)\s+install\s+"),
    Tool.R: re.compile(r"install\.packages\s*"),
}
_YES = {"-y", "--yes", "-q", "--quiet", "-U", "--upgrade"}
_COMMENT = re.compile(r"(?:^|\s)#.*$")


def listed(tool: Tool, text: str) -> tuple[str, ...]:
    """The packages that a text names, each once, in its order; they are not checked here.

    One on each line; for apt and R, which have no spaces in names, several may share a line.
    Comments, the dashes of a YAML list and a pasted `pip install` (or the like) are left out.
    """
    found: list[str] = []
    for line in text.splitlines():
        found += _of_line(tool, _COMMENT.sub("", line).strip())
    return tuple(dict.fromkeys(found))


def _of_line(tool: Tool, line: str) -> list[str]:
    if line.startswith("- "):
        line = line[2:].strip()
    command = _COMMANDS[tool].match(line)
    rest = line[command.end() :] if command else line
    if tool is Tool.R:
        rest = re.sub(r"\bc\(|[()\"']", " ", rest)
    if tool in {Tool.APT, Tool.R}:
        words = re.split(r"[\s,]+", rest)
    else:
        words = rest.split() if command else [rest]
    return [word for word in words if word and not (command and word in _YES)]
