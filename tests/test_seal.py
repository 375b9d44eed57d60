"""What is sealed comes back as it was, to the same purpose, in time, or not at all."""

import base64
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.seal import Seal

SECRET = "a secret of the test"
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(values)
def test_what_is_closed_is_opened(value: Any) -> None:
    seal = Seal(SECRET, "cookie")
    assert seal.open(seal.close(value)) == value
    assert Seal(SECRET, "cookie").open(seal.close(value), seconds=60) == value


@pytest.mark.parametrize(
    ("secret", "purpose"),
    [
        (SECRET, "state"),
        (SECRET, "cookie "),
        (SECRET, ""),
        (f"{SECRET}x", "cookie"),
        ("", "cookie"),
    ],
)
def test_nothing_else_opens_it(secret: str, purpose: str) -> None:
    sealed = Seal(SECRET, "cookie").close({"token": "t"})
    other = Seal(secret, purpose)
    assert other.open(sealed) is None
    assert Seal(SECRET, "cookie").open(other.close({"token": "t"})) is None


def test_what_is_sealed_cannot_be_read_and_is_never_twice_the_same() -> None:
    seal = Seal(SECRET, "cookie")
    assert seal.close("readable") != seal.close("readable")
    assert "readable" not in seal.close("readable")
    # it goes into a cookie as it is
    assert not set(seal.close("x" * 100)) & set(" ,;\"'\\\n")


@settings(deadline=None)
@given(st.data())
def test_tampered_is_nothing(data: st.DataObject) -> None:
    seal = Seal(SECRET, "cookie")
    sealed = bytearray(base64.urlsafe_b64decode(seal.close({"token": "t"})))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert seal.open(base64.urlsafe_b64encode(sealed).decode()) is None
    cut = data.draw(st.integers(0, len(sealed) - 1))
    assert seal.open(base64.urlsafe_b64encode(sealed[:cut]).decode()) is None


@given(st.text(st.characters(), max_size=200))
def test_anything_else_is_nothing(text: str) -> None:
    assert Seal(SECRET, "cookie").open(text) is None


def test_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = Seal(SECRET, "cookie")
    sealed = seal.close("x")
    now = time.time()
    for after, seconds, opened in [
        (0, 60, "x"),
        (58, 60, "x"),
        (62, 60, None),
        (10**9, 60, None),
        (10**9, None, "x"),
        (-3600, 60, None),  # from a clock that was wrong
    ]:
        monkeypatch.setattr(time, "time", lambda after=after: now + after)
        assert seal.open(sealed, seconds=seconds) == opened
