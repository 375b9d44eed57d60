"""The context of a build: which paths and sizes it may have, and which zips are taken."""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipInfo

from .errors import N_, Invalid

MAX_FILES = 2000
MAX_FILE_BYTES = 100 * 1000**2
MAX_TOTAL_BYTES = 500 * 1000**2
MAX_PATH_LENGTH = 500
MAX_DEPTH = 50
MAX_NAME_BYTES = 255
"""What Linux takes for one name in a path."""

# A zip that unpacks to more than this many times its size, and to more than the next number of
# bytes, was made to fill a disk: ordinary deflated data shrinks by less.
MAX_RATIO = 200
RATIO_MATTERS_FROM = 50 * 1000**2

_SHOWN = 20  # of many files with the same fault
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # encrypted, strongly encrypted, masked headers

_TOO_MANY = N_("at most 2,000 files fit in here: put what is many into an archive of its own")
_FILE_TOO_LARGE = N_("a file has at most 100 MB: let the Dockerfile or the start script fetch it")
_ALL_TOO_LARGE = N_("all files together have at most 500 MB")
_SAME_NAME = N_("there is another file of this name, but for upper and lower case: rename one")
_FILE_AND_FOLDER = N_("this is the name of a file and of a folder: rename one")


class Sized(Protocol):
    """A file with its place: `images.ContextFile`, or a `Member` of a zip."""

    @property
    def path(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...


@dataclass(frozen=True)
class Member:
    """A file that is taken out of a zip; `size_bytes` is what the zip says, which may be a lie."""

    info: ZipInfo
    path: str
    size_bytes: int
    executable: bool


def clean_path(text: str) -> str:
    """A path as it is kept: relative, with /, in Unicode's composed form (NFC).

    Raises ValueError saying what to write instead.
    """
    path = unicodedata.normalize("NFC", text)
    fault = _fault(path)
    if fault:
        raise ValueError(fault)
    return path


def problems(files: Iterable[Sized]) -> list[tuple[str, str]]:
    """What is wrong with the files of a context together: (path, sentence) pairs."""
    files = sorted(files, key=lambda file: file.path)
    if len(files) > MAX_FILES:
        return [("files", _TOO_MANY)]
    found: list[tuple[str, str]] = []
    for file in files:
        fault = _fault(file.path)
        if fault or file.path != unicodedata.normalize("NFC", file.path):
            found.append((_shown(file.path), fault or _SAME_NAME))
        elif file.size_bytes > MAX_FILE_BYTES:
            found.append((file.path, _FILE_TOO_LARGE))
    if sum(file.size_bytes for file in files) > MAX_TOTAL_BYTES:
        found.append(("files", _ALL_TOO_LARGE))
    return (found + _collisions([file.path for file in files]))[:_SHOWN]


def members(infos: Sequence[ZipInfo], archive_bytes: int) -> list[Member]:
    """The files of a zip of `archive_bytes` bytes, as its table of contents says.

    Everything lies where the zip has it: no common folder is taken away. Folders come with their
    files, what macOS adds is left out, and a zip in the zip is a file. Raises `Invalid`.
    """
    found: list[Member] = []
    faults: list[tuple[str, str]] = []
    for info in infos:
        name = info.orig_filename  # `filename` ends at the first NUL
        if _is_junk(name):
            continue
        fault = _member_fault(info, name)
        if fault:
            faults.append((_shown(name), fault))
        elif not name.endswith("/"):
            mode = info.external_attr >> 16
            path = unicodedata.normalize("NFC", name)
            found.append(Member(info, path, info.file_size, bool(mode & 0o111)))
    total = sum(member.size_bytes for member in found)
    if total > RATIO_MATTERS_FROM and total > MAX_RATIO * archive_bytes:
        faults.append(
            ("zip", N_("this zip unpacks to very much more than it is: send the files themselves"))
        )
    if not found and not faults:
        faults.append(("zip", N_("there is no file in this zip")))
    faults += problems(found)
    if faults:
        raise Invalid(problems=list(dict.fromkeys(faults))[:_SHOWN])
    return found


def _fault(path: str) -> str | None:
    """What is wrong with a path, as a sentence that says what to do."""
    if not path:
        return N_("give the file a name")
    if "\\" in path:
        return N_("write / between folders, not a backslash")
    if path.startswith("/") or path[1:3] in {":", ":/"}:
        return N_("a path begins with the name of a file or folder, not with / or a drive")
    if any(_is_hidden(char) for char in path):
        return N_("a file's name holds a character that cannot be seen: rename it")
    if any(part in {"", ".", ".."} for part in path.split("/")):
        return N_("write the path without .. , . or //")
    if any(part != part.strip() for part in path.split("/")):
        return N_("a file's name does not begin or end with a space: rename it")
    if (
        len(path) > MAX_PATH_LENGTH
        or path.count("/") > MAX_DEPTH
        or any(len(part.encode()) > MAX_NAME_BYTES for part in path.split("/"))
    ):
        return N_("this path is too long: shorten the names of files and folders")
    return None


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or char in _DIRECTION_MARKS


def _collisions(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Files that would overwrite each other, here or on the computer that they came from."""
    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    for path in paths:
        if path.casefold() in seen:
            found.append((_shown(path), _SAME_NAME))
        seen.add(path.casefold())
    folders = {
        path.casefold()[:index]
        for path in paths
        for index, char in enumerate(path.casefold())
        if char == "/"
    }
    found += [(_shown(path), _FILE_AND_FOLDER) for path in paths if path.casefold() in folders]
    return found


def _member_fault(info: ZipInfo, name: str) -> str | None:
    is_folder = name.endswith("/")
    fault = _fault(unicodedata.normalize("NFC", name.removesuffix("/")))
    if fault:
        return fault
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR} or (kind == stat.S_IFDIR and not is_folder):
        return N_("this is a link or a special file: put the file itself into the zip")
    if info.flag_bits & _ENCRYPTED:
        return N_("this is protected by a password: make the zip without one")
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        return N_("this is compressed in an unusual way: make the zip with “deflate”")
    return None


def _is_junk(name: str) -> bool:
    """Whether it is what macOS adds to a zip for itself."""
    last = name.rsplit("/", 1)[-1]
    return name.startswith("__MACOSX/") or last == ".DS_Store" or last.startswith("._")


def _shown(path: str) -> str:
    """A path for a message: what cannot be seen or sent is replaced."""
    text = "".join("�" if _is_hidden(char) else char for char in path)
    return text if len(text) <= 100 else f"{text[:99]}…"
