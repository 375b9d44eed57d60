"""Contexts: paths, limits, and what the table of contents of a zip may say."""

from __future__ import annotations

import posixpath
import stat
import unicodedata
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain import context
from mydocker_hub.domain.errors import Invalid
from mydocker_hub.domain.images import ContextFile

REGULAR = stat.S_IFREG | 0o644


def entry(name: str, size: int = 3, mode: int = REGULAR, **fields: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.orig_filename = name  # which ZipInfo cleans, and a zip does not
    info.file_size, info.compress_size = size, fields.pop("compressed", size)
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def file(path: str, size: int = 3) -> ContextFile:
    return ContextFile(path=path, sha256="0" * 64, size_bytes=size)


@pytest.mark.parametrize(
    "path",
    ["a", "data/a.csv", "été/Ω.txt", "a b/c d", ".hidden", "..a", "a..", "x/...", "Dockerfile"],
)
def test_paths_that_are_kept(path: str) -> None:
    assert context.clean_path(path) == path


def test_composed_form() -> None:
    assert context.clean_path(unicodedata.normalize("NFD", "été")) == "été"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "name"),
        ("/etc/passwd", "begins with"),
        ("C:/x", "drive"),
        ("C:", "drive"),
        ("..", r"\.\."),
        ("../x", r"\.\."),
        ("a/../../x", r"\.\."),
        ("a/./b", r"\.\."),
        ("a//b", "//"),
        ("a/", "//"),
        ("a\\b", "backslash"),
        ("..\\..\\x", "backslash"),
        ("a\0b", "cannot be seen"),
        ("a\nb", "cannot be seen"),
        ("\x7f", "cannot be seen"),
        ("gnp.\u202eexe", "cannot be seen"),
        ("\udc80", "cannot be seen"),
        (" a", "space"),
        ("a /b", "space"),
        ("x" * 256, "too long"),
        ("é" * 128, "too long"),
        ("/".join(["x" * 100] * 6), "too long"),
        ("/".join(["x"] * 52), "too long"),
    ],
)
def test_paths_that_are_not(path: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        context.clean_path(path)


@given(st.text(alphabet=st.sampled_from("a./\\:~ é\0\n\u202e") | st.characters(), max_size=20))
@settings(max_examples=50, deadline=None)
def test_a_path_stays_inside(text: str) -> None:
    try:
        path = context.clean_path(text)
    except ValueError:
        return
    joined = posixpath.normpath(posixpath.join("/context", path))
    assert joined == f"/context/{path}"
    assert unicodedata.is_normalized("NFC", path)
    assert context.clean_path(path) == path


@pytest.mark.parametrize(
    ("paths", "wrong"),
    [
        (["a", "b/c", "b/d"], []),
        (["a", "A"], ["a"]),
        (["straße", "STRASSE"], ["straße"]),
        (["a", "a/b"], ["a"]),
        (["a/b", "a/b/c/d"], ["a/b"]),
        (["A", "a/b"], ["A"]),
        (["a-b", "a/b"], []),
        (["a", "a"], ["a"]),
        (["../x"], ["../x"]),
    ],
)
def test_files_that_clash(paths: list[str], wrong: list[str]) -> None:
    assert [path for path, _ in context.problems([file(path) for path in paths])] == wrong


def test_limits() -> None:
    assert context.problems([file(f"f{n}") for n in range(2000)]) == []
    assert "2,000" in context.problems([file(f"f{n}") for n in range(2001)])[0][1]
    assert context.problems([file("a", 100_000_000)]) == []
    assert "100 MB" in context.problems([file("a", 100_000_001)])[0][1]
    five = [file(f"f{n}", 100_000_000) for n in range(5)]
    assert context.problems(five) == []
    assert "500 MB" in context.problems([*five, file("one more", 1)])[0][1]
    assert len(context.problems([file(f"../{n}") for n in range(99)])) == 20


def test_members_of_a_good_zip() -> None:
    found = context.members(
        [
            entry("top/", 0, stat.S_IFDIR | 0o755),
            entry("top/a.txt"),
            entry(unicodedata.normalize("NFD", "top/é.sh"), mode=stat.S_IFREG | 0o755),
            entry("top/inner.zip"),
            entry("windows.txt", mode=0),
            entry("__MACOSX/top/._a.txt"),
            entry("top/.DS_Store"),
            entry("top/._b"),
        ],
        1000,
    )
    assert [(one.path, one.executable) for one in found] == [
        ("top/a.txt", False),
        ("top/é.sh", True),
        ("top/inner.zip", False),
        ("windows.txt", False),
    ]


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([entry("../../etc/cron.d/x")], r"\.\."),
        ([entry("/etc/passwd")], "begins with"),
        ([entry("..\\x")], "backslash"),
        ([entry("a.txt\0.png")], "cannot be seen"),
        ([entry("../", 0, stat.S_IFDIR)], r"\.\."),
        ([entry("link", mode=stat.S_IFLNK | 0o777)], "link"),
        ([entry("fifo", mode=stat.S_IFIFO)], "link"),
        ([entry("device", mode=stat.S_IFCHR)], "link"),
        ([entry("socket", mode=stat.S_IFSOCK)], "link"),
        ([entry("link/", mode=stat.S_IFLNK)], "link"),
        ([entry("folder", mode=stat.S_IFDIR)], "link"),
        ([entry("a", flag_bits=0x1)], "password"),
        ([entry("a", flag_bits=0x41)], "password"),
        ([entry("a", compress_type=zipfile.ZIP_LZMA)], "unusual"),
        ([entry("a", compress_type=99)], "unusual"),
        ([entry("a"), entry("a")], "another file"),
        ([entry("a"), entry("A")], "another file"),
        ([entry("a"), entry("a/b")], "file and of a folder"),
        ([entry("a", 100_000_001)], "100 MB"),
        ([entry("a", 60_000_000)], "very much more"),
        ([entry(f"f{n}") for n in range(2001)], "2,000"),
        ([entry("empty/", 0, stat.S_IFDIR)], "no file"),
        ([entry("__MACOSX/x")], "no file"),
        ([], "no file"),
    ],
)
def test_members_of_a_hostile_zip(entries: list[zipfile.ZipInfo], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        context.members(entries, 1000)
