"""Files by what they hold: each lies once on disk, under its SHA-256.

No name from outside is ever a path here. Writing is atomic: a file is there whole, or not at all.
All of it is for threads, none for the event loop.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from .domain import context
from .domain.errors import N_, Invalid, MydockerError, NotFound, Unavailable
from .domain.images import ContextFile

CHUNK_BYTES = 256 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEPT_SECONDS = 24 * 3600
ROOM_LEFT_BYTES = 200 * 1000**2
"""What the hub's own databases need on the same disk."""
_LONGEST_READ = 4 * 1024 * 1024
"""More than 2,000 files need for their lines in a zip's table of contents."""

_NO_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError)
_FURTHEST_SEEK = 1 << 62  # what every file system takes


class FileStore:
    """A folder of files; only this process's user reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for made in (folder, folder / "new"):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
            made.chmod(0o700)

    def path(self, sha256: str) -> Path:
        """Where a file lies. Raises ValueError for what is no SHA-256; it need not be there."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError("not a SHA-256")
        return self.folder / sha256[:2] / sha256

    def open(self, sha256: str) -> IO[bytes]:
        """A file for reading. Raises `NotFound`."""
        try:
            return self.path(sha256).open("rb")
        except (FileNotFoundError, ValueError):
            raise NotFound() from None

    def begin(self, limit: int) -> Writer:
        """Begin a file of at most `limit` bytes; close or `keep` it.

        Raises `Unavailable` where the disk has no room for it.
        """
        self.check_room(limit)
        return Writer(self, limit)

    def check_room(self, size_bytes: int) -> None:
        """Raises `Unavailable` where the disk has no room for so much more."""
        if shutil.disk_usage(self.folder).free < size_bytes + ROOM_LEFT_BYTES:
            raise Unavailable("files-no-room")

    def put(
        self, chunks: Iterable[bytes], *, limit: int = context.MAX_FILE_BYTES
    ) -> tuple[str, int]:
        """Keep a file; its SHA-256 and its size. Raises `MydockerError` too-large."""
        with self.begin(limit) as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.keep()

    def prune(
        self, known: Collection[str] | Callable[[], Collection[str]], *, now: float | None = None
    ) -> int:
        """Remove what nobody knows and is older than a day; how many files that were.

        A younger one may be on its way into the database, and one that was kept again is young.
        """
        before = (time.time() if now is None else now) - _KEPT_SECONDS
        old = [path for path in self._all() if _age(path) < before]
        if not old:
            return 0
        names = known() if callable(known) else known
        removed = 0
        for path in old:
            if path.name not in names and _age(path) < before:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _all(self) -> Iterator[Path]:
        for folder in self.folder.iterdir():
            if folder.is_dir():
                yield from folder.iterdir()

    def _place(self, temporary: Path, sha256: str) -> None:
        path = self.path(sha256)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        os.replace(temporary, path)  # also makes one that is there already young again


class Writer:
    """A file that comes in pieces; what was not kept is gone when it is closed."""

    def __init__(self, store: FileStore, limit: int) -> None:
        self.size_bytes = 0
        self._store = store
        self._limit = limit
        self._hash = hashlib.sha256()
        self.temporary = store.folder / "new" / secrets.token_hex(16)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(self.temporary, flags, 0o600), "wb")

    def write(self, chunk: bytes) -> None:
        """Add a piece. Raises `MydockerError` too-large, `Unavailable` where the disk fills up."""
        self.size_bytes += len(chunk)
        if self.size_bytes > self._limit:
            raise MydockerError("too-large", limit=self._limit)
        self._store.check_room(len(chunk))  # others may have begun when we did
        self._hash.update(chunk)
        self._file.write(chunk)

    def keep(self) -> tuple[str, int]:
        """Put the file into the store; its SHA-256 and its size in bytes."""
        self.finish()
        sha256 = self._hash.hexdigest()
        self._store._place(self.temporary, sha256)
        return sha256, self.size_bytes

    def finish(self) -> Path:
        """End writing without keeping: where it lies until `close`."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return self.temporary

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()
        self.temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def unpack(archive: Path, store: FileStore) -> tuple[ContextFile, ...]:
    """Put the files of a zip into the store.

    The table of contents is checked first (`context.members`); then each file is counted while it
    is unpacked, as a table can lie. Raises `Invalid`, with the files that cannot be taken.
    """
    try:
        with _ShortReads(archive) as file, zipfile.ZipFile(file) as opened:
            found = context.members(opened.infolist(), archive.stat().st_size)
            return tuple(_unpack(opened, member, store) for member in found)
    except _NO_ZIP as error:
        raise Invalid(
            problems=[("zip", N_("this is not a zip that can be read: make it again"))],
            log_detail=type(error).__name__,
        ) from error


def _unpack(opened: zipfile.ZipFile, member: context.Member, store: FileStore) -> ContextFile:
    """One file, which may not be larger than the table of contents said."""
    with opened.open(member.info) as source, store.begin(member.size_bytes) as writer:
        while chunk := source.read(CHUNK_BYTES):
            writer.write(chunk)
        sha256, size_bytes = writer.keep()
    return ContextFile(
        path=member.path, sha256=sha256, size_bytes=size_bytes, executable=member.executable
    )


class _ShortReads:
    """A file for `zipfile`, which reads the table of contents in one go, however long it is."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.tell, self.seekable = self._file.tell, self._file.seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET and not 0 <= offset <= _FURTHEST_SEEK:
            raise zipfile.BadZipFile("the table of contents leads nowhere")
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if size > _LONGEST_READ:
            raise zipfile.BadZipFile("the table of contents is too long")
        return self._file.read(_LONGEST_READ if size < 0 else size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
