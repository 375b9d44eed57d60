"""Commands and image references as people write them.

A command is split into words as a POSIX shell would split it, and nothing is ever evaluated: what
would need a shell (`$VAR`, `$(…)`, pipes, redirections) is refused with a sentence rather than
passed on in silence. Template variables (`{{PASSWORD}}`) are replaced after the split, so that a
value can never become a second word.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

COMMAND_MAX_LENGTH = 8192

# distribution/reference, regexp.go: [domain/]path[:tag][@digest]
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_IMAGE = re.compile(
    rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*(?::[0-9]{{1,5}})?/)?"
    rf"{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?:@sha256:[a-f0-9]{64})?",
    re.ASCII,
)

_VARIABLE = re.compile(r"\{\{([^{}]*)\}\}")  # linear: a backtracking one can be made to hang
_KNOWN_VARIABLE = re.compile(
    r"USERNAME|PASSWORD|BASE_URL|(?:HOST|PORT|BASE_URL)\['([1-9][0-9]{0,4})'\]"
)


def check_image(reference: str) -> str:
    """Return an image reference as it is, or raise ValueError saying what is wrong with it."""
    if not reference:
        raise ValueError("name an image, for example quay.io/jupyter/scipy-notebook")
    if len(reference) > 255:
        raise ValueError("an image reference has at most 255 characters")
    if not _IMAGE.fullmatch(reference):
        raise ValueError(
            "this is not an image reference: write [registry/]name[:tag], in lower case, "
            "without spaces or quotes"
        )
    return reference


def check_command(command: str) -> str:
    """Return a command template as it is, or raise ValueError saying what is wrong with it."""
    split(command)
    for name in sorted(variables(command)):
        if name == "USER_REDIRECT":
            # Whoever makes a link chooses it: a word of a command is no place for that.
            raise ValueError(
                "leave {{USER_REDIRECT}} out: what follows user-redirect/ in a join link "
                "is opened in the first interface"
            )
        if not _KNOWN_VARIABLE.fullmatch(name):
            raise ValueError(
                f"{{{{{name}}}}} is not known: use {{{{USERNAME}}}}, {{{{PASSWORD}}}}, "
                "{{BASE_URL}}, {{BASE_URL['8888']}}, {{HOST['8888']}} or {{PORT['8888']}}"
            )
    return command


def split(command: str) -> list[str]:
    """The words of a command template, as a shell would see them.

    Raises ValueError, worded for the person who wrote the command.
    """
    if not command.strip():
        raise ValueError("leave the command out to use the image's own")
    if len(command) > COMMAND_MAX_LENGTH:
        raise ValueError(f"a command has at most {COMMAND_MAX_LENGTH} characters")
    if any(ord(char) < 32 or ord(char) == 127 for char in command):
        raise ValueError("a command is one line without control characters")
    _refuse_shell_syntax(command)
    try:
        return [word.translate(_SHOW) for word in shlex.split(_protect(command))]
    except ValueError as error:
        raise ValueError("a quote or backslash is left open") from error


def render(words: list[str], values: Mapping[str, str]) -> list[str]:
    """Replace template variables in words that `split` gave; an unknown one becomes empty."""
    return [_VARIABLE.sub(lambda match: values.get(match[1].strip(), ""), word) for word in words]


def variables(command: str) -> set[str]:
    """The template variables that a command uses, such as `PASSWORD` or `HOST['8888']`."""
    # Of the words, not of the text: quotes may come between two braces.
    words = split(command) if command.strip() else []
    return {match[1].strip() for word in words for match in _VARIABLE.finditer(word)}


def port_of(variable: str) -> int | None:
    """The port that a variable such as `HOST['8888']` names."""
    match = _KNOWN_VARIABLE.fullmatch(variable)
    return int(match[1]) if match and match[1] else None


_JUPYTER_SUBCOMMANDS = frozenset({"lab", "notebook", "server"})
_JUPYTER_PROGRAMS = frozenset(
    {"jupyter-lab", "jupyter-notebook", "jupyter-server", "start-notebook.py", "start-notebook.sh"}
)
_JUPYTER_PORT = 8888
_WRAPPERS = frozenset({"tini", "start.sh", "exec"})


@dataclass(frozen=True)
class JupyterCommand:
    """What a command that starts a Jupyter server says of it."""

    port: int
    base_url_set: bool


def jupyter_command(words: list[str]) -> JupyterCommand | None:
    """What `words` say if they start a Jupyter server themselves; not through a shell."""
    names = [posixpath.basename(word) for word in words]
    while names and (names[0] in _WRAPPERS or names[0].startswith("-")):
        names.pop(0)  # tini -g -- jupyter lab
    if names[:1] == ["jupyter"]:
        if len(names) < 2 or names[1] not in _JUPYTER_SUBCOMMANDS:
            return None
    elif not names or names[0] not in _JUPYTER_PROGRAMS:
        return None
    port = _JUPYTER_PORT
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in {"--port", "--ServerApp.port"}:
            value = value if equals else following
            port = int(value) if re.fullmatch(r"[0-9]{1,5}", value, re.ASCII) else port
    return JupyterCommand(port, base_url_set=any(".base_url" in word for word in words))


# The quotes of {{HOST['8888']}} and the spaces of {{ PASSWORD }} belong to the template, not to
# the shell: hide them while the words are split.
_HIDE = str.maketrans("' ", "\x00\x01")
_SHOW = str.maketrans("\x00\x01", "' ")


def _protect(command: str) -> str:
    return _VARIABLE.sub(lambda match: match[0].translate(_HIDE), command)


def _refuse_shell_syntax(command: str) -> None:
    quote = ""
    escaped = False
    for position, char in enumerate(_protect(command)):
        if escaped:
            escaped = False
            if quote and char in "$`":  # shlex would keep the backslash
                _refuse(char, position)
            continue
        if char == "\\" and quote != "'":
            escaped = True
        elif quote:
            if char == quote:
                quote = ""
            elif quote == '"' and char in "$`":
                _refuse(char, position)
        elif char in "'\"":
            quote = char
        elif char in "$`|&;<>":
            _refuse(char, position)


def _refuse(char: str, position: int) -> None:
    raise ValueError(
        f"“{char}” (character {position + 1}) would need a shell, and commands are not run by one: "
        "put it between single quotes, or write sh -c '…'"
    )
