"""Where the templates, static files and the sample catalogue are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _candidates() -> Iterator[Path]:
    checkout = _PACKAGE.parent
    if (checkout / "setup.cfg").is_file():
        yield checkout / "share"
    yield Path(sys.prefix) / "share" / "mydocker_hub"
    # `pip install --user` and Debian's /usr/local are other prefixes than sys.prefix.
    for parent in _PACKAGE.parents:
        yield parent / "share" / "mydocker_hub"


def share_path(*parts: str) -> Path:
    """The path of a shared file or folder, such as `share_path("templates", "hub")`.

    It lies in `share/` of a checkout (also one that is installed as editable), else in
    `share/mydocker_hub/` of the prefix that the wheel was installed in.

    Raises `FileNotFoundError` where neither exists: the package was copied, not installed.
    """
    for candidate in _candidates():
        if (candidate / "templates").is_dir():
            return candidate.joinpath(*parts)
    raise FileNotFoundError(
        f"The shared files of mydocker_hub are neither beside {_PACKAGE} nor in "
        f"{Path(sys.prefix) / 'share' / 'mydocker_hub'}. Install the package with pip."
    )


def help_path() -> Path:
    """The folder of the help for fields: `docs/teachers` of a checkout, or `help` of the wheel."""
    checkout = _PACKAGE.parent / "docs" / "teachers"
    return checkout if (checkout / "fields.en.md").is_file() else share_path("help")
