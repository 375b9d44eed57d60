"""Files on disk by what they hold, and zips that are unpacked into there."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mydocker_hub import filestore
from mydocker_hub.domain.errors import Invalid, MydockerError, NotFound, Unavailable
from mydocker_hub.filestore import FileStore, unpack

DAY = 24 * 3600


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "images")


def all_files(store: FileStore) -> list[Path]:
    return [path for path in store.folder.rglob("*") if path.is_file()]


def zipped(tmp_path: Path, files: dict[str, bytes]) -> Path:
    path = tmp_path / "upload.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def test_kept_once_and_for_nobody_else(store: FileStore) -> None:
    sha256, size = store.put([b"hel", b"lo"])
    assert (sha256, size) == (hashlib.sha256(b"hello").hexdigest(), 5)
    assert store.put([b"hello"]) == (sha256, size)
    assert all_files(store) == [store.path(sha256)]
    with store.open(sha256) as file:
        assert file.read() == b"hello"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in store.folder.rglob("*")}
    assert modes == {0o700, 0o600}
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_a_hash_names_a_file(store: FileStore, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        store.path(name)
    with pytest.raises(NotFound):
        store.open(name)


def test_what_is_too_large_leaves_nothing(store: FileStore) -> None:
    with pytest.raises(MydockerError, match="too-large"):
        store.put([b"x" * 6, b"y" * 6], limit=10)
    assert all_files(store) == []


def test_what_is_given_up_leaves_nothing(store: FileStore) -> None:
    with pytest.raises(RuntimeError), store.begin(10) as writer:  # noqa: PT012 - ended amid it
        writer.write(b"x")
        raise RuntimeError
    assert all_files(store) == []


def test_a_full_disk_is_said_before(store: FileStore) -> None:
    with pytest.raises(Unavailable, match="files-no-room"):
        store.begin(1 << 60)


def test_prune_leaves_what_is_known_or_young(store: FileStore) -> None:
    known, unknown, young = (store.put([text])[0] for text in (b"known", b"unknown", b"young"))
    abandoned = store.begin(10)
    for path in (store.path(known), store.path(unknown), abandoned.temporary):
        os.utime(path, (0, time.time() - DAY - 60))
    asked = []

    def whom() -> set[str]:
        asked.append(1)
        return {known}

    assert store.prune(whom) == 2
    assert sorted(path.name for path in all_files(store)) == sorted([known, young])
    os.utime(store.path(known), (0, time.time()))
    assert store.prune(whom) == 0
    assert asked == [1]  # nothing was old: the database was not asked


def test_what_comes_again_is_young_again(store: FileStore) -> None:
    sha256, _ = store.put([b"x"])
    os.utime(store.path(sha256), (0, 0))
    store.put([b"x"])
    assert store.prune(set()) == 0


def test_a_zip_is_unpacked(store: FileStore, tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as made:
        made.writestr("../never-looked-at", "x")
    archive = zipped(tmp_path, {"top/a.txt": b"a", "top/inner.zip": inner.getvalue()})
    found = unpack(archive, store)
    assert [one.path for one in found] == ["top/a.txt", "top/inner.zip"]
    assert store.path(found[0].sha256).read_bytes() == b"a"
    assert found[1].size_bytes == len(inner.getvalue())


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_zip(store: FileStore, tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "upload.zip"
    archive.write_bytes(content)
    with pytest.raises(Invalid):
        unpack(archive, store)
    assert all_files(store) == []


def test_a_table_of_contents_that_lies(store: FileStore, tmp_path: Path) -> None:
    """It says 10 bytes; 80 MB of zeros come out: no more of them is unpacked than was said."""
    archive = zipped(tmp_path, {"bomb": b"\0" * 80_000_000})
    content = archive.read_bytes()
    size = struct.pack("<L", 80_000_000)
    assert content.count(size) == 2  # before the file, and in the table
    archive.write_bytes(content.replace(size, struct.pack("<L", 10)))
    tracemalloc.start()
    with pytest.raises((Invalid, MydockerError)):
        unpack(archive, store)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000
    assert all_files(store) == []


def test_a_bomb_that_says_so(store: FileStore, tmp_path: Path) -> None:
    archive = zipped(tmp_path, {f"bomb{number}": b"\0" * 30_000_000 for number in range(2)})
    with pytest.raises(Invalid, match="very much more"):
        unpack(archive, store)
    assert all_files(store) == []


def test_a_table_of_contents_without_end(store: FileStore, tmp_path: Path) -> None:
    archive = tmp_path / "upload.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for number in range(20_000):
            made.writestr(f"{'x' * 240}{number}", b"")
    with pytest.raises(Invalid, match="not a zip"):
        unpack(archive, store)


def test_wrong_checksum_keeps_nothing_of_that_file(store: FileStore, tmp_path: Path) -> None:
    archive = tmp_path / "upload.zip"
    with zipfile.ZipFile(archive, "w") as made:  # stored: not compressed
        made.writestr("a", b"right")
    archive.write_bytes(archive.read_bytes().replace(b"right", b"wrong"))
    with pytest.raises(Invalid, match="not a zip"):
        unpack(archive, store)
    assert all_files(store) == []


@given(
    position=st.integers(0, 400),
    byte=st.integers(0, 255),
    cut=st.integers(0, 400) | st.none(),
)
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_damage_is_refused_in_words(
    store: FileStore, tmp_path: Path, position: int, byte: int, cut: int | None
) -> None:
    content = bytearray(zipped(tmp_path, {"a/b.txt": b"hello" * 9, "c": b"x"}).read_bytes())
    content[position % len(content)] = byte
    archive = tmp_path / "damaged.zip"
    archive.write_bytes(content[:cut])
    try:
        found = unpack(archive, store)
    except MydockerError as error:
        assert error.code in {"invalid", "too-large"}  # noqa: PT017
    else:
        assert all(filestore.FileStore.path(store, one.sha256).exists() for one in found)


def test_a_disk_that_fills_up_meanwhile(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # Several uploads may begin while there is room for one of them.
    with store.begin(1000) as writer:
        writer.write(b"x")
        free = shutil.disk_usage(store.folder).free
        monkeypatch.setattr(filestore, "ROOM_LEFT_BYTES", free + 10**12)
        with pytest.raises(Unavailable) as caught:
            writer.write(b"x")
    assert caught.value.code == "files-no-room"
    assert all_files(store) == []
