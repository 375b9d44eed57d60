"""Sizes and durations as people type them into a form, both ways.

What is written here is read again to exactly the same value, in both languages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from .environment import parse_bytes

DURATION_EXPECTED = "write a duration such as 20 min, 2 h, 1 h 30 or 1 day"
NUMBER_EXPECTED = "write a number such as 2 or 0.5"

_SPACES = re.compile(r"[\s\u00a0\u202f]+")
_UNITS = (
    ("Ki", 1024),
    ("k", 10**3),
    ("Mi", 1024**2),
    ("Gi", 1024**3),
    ("Ti", 1024**4),
    ("M", 10**6),
    ("G", 10**9),
    ("T", 10**12),
)
# of two wordings of one length, the last here


def _plain(text: str) -> str:
    """With plain spaces and a point: what French typography puts there is understood too."""
    return _SPACES.sub(" ", text).strip().replace(",", ".")


def read_bytes(text: str) -> int:
    """“4 GB”, “1,5 Go” or “512 MiB” in bytes. Raises ValueError saying what to write."""
    size: int = parse_bytes(_plain(text))
    return size


def write_bytes(size: int, language: str) -> str:
    """The shortest exact wording: “1.5 GB”, in French “1,5 Go”."""
    letter = "o" if language == "fr" else "B"
    wordings = [f"{size} {letter}"]
    for unit, factor in _UNITS:
        thousandths, rest = divmod(size * 1000, factor)
        if size >= factor and rest == 0:
            amount = f"{thousandths // 1000}.{thousandths % 1000:03d}".rstrip("0").rstrip(".")
            wordings.insert(0, f"{amount} {unit}{letter}")
    wording = min(wordings, key=lambda item: len(item.partition(" ")[0]))
    return wording.replace(".", ",") if language == "fr" else wording


_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds", "seconde", "secondes"), 1),
    **dict.fromkeys(("m", "min", "mn", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours", "heure", "heures"), 3600),
    **dict.fromkeys(("d", "day", "days", "j", "jour", "jours"), 86400),
}
_PART = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?) ?([a-z]+)?")


def read_duration(text: str) -> timedelta:
    """“2 h”, “20 min”, “1 h 30”, “1,5 heure” or “1 day and 2 hours”.

    Raises ValueError saying what to write; a number alone is refused, as nobody knows its unit.
    """
    left = _plain(text).lower()
    seconds, previous = 0.0, 0
    while left:
        match = _PART.match(left)
        if match is None:
            raise ValueError(DURATION_EXPECTED)
        # “1 h 30” means minutes, and nothing else goes without its unit.
        unit = _SECONDS.get(match[2]) if match[2] else (60 if previous == 3600 else None)
        if unit is None or (previous and unit >= previous):
            raise ValueError(DURATION_EXPECTED)
        seconds += float(match[1]) * unit
        previous = unit
        left = re.sub(r"^(?: |,|\.|and |et )+", "", left[match.end() :])
    if not previous:
        raise ValueError(DURATION_EXPECTED)
    return timedelta(seconds=round(seconds))


def write_duration(duration: timedelta, language: str) -> str:
    """“1 h 30 min”; a day is “1 day” or “1 jour”."""
    hours, rest = divmod(duration.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    day = "jour" if language == "fr" else "day"
    parts = [f"{duration.days} {day}{'s' if duration.days > 1 else ''}"] if duration.days else []
    parts += [f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min"), (seconds, "s")) if n]
    return " ".join(parts)


def read_number(text: str) -> float:
    """“0,5” or “2”. Raises ValueError saying what to write."""
    plain = _plain(text)
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", plain):
        raise ValueError(NUMBER_EXPECTED)
    return float(plain)


def read_variables(text: str) -> tuple[dict[str, str], list[int]]:
    """`NAME=value` lines as a mapping, and the numbers of the lines that are none.

    A value in double quotes is read as in JSON, so that it may hold line ends.
    """
    found: dict[str, str] = {}
    wrong = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals or not name or "." in name or name in found:
            wrong.append(number)
            continue
        found[name] = _unquoted(value)
    return found, wrong


def write_variables(variables: Mapping[str, str]) -> str:
    """What `read_variables` reads."""
    return "\n".join(f"{name}={_quoted(value)}" for name, value in variables.items())


def read_lines(text: str) -> list[str]:
    """The lines that are not empty, without spaces around them."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_words(text: str) -> list[str]:
    """Words that are separated by spaces, commas or line ends."""
    return [word for word in re.split(r"[\s,;]+", text) if word]


def write_lines(lines: Iterable[Any]) -> str:
    return "\n".join(str(line) for line in lines)


def _quoted(value: str) -> str:
    if value == value.strip() and not value.startswith('"') and len(value.splitlines()) <= 1:
        return value
    return json.dumps(value, ensure_ascii=True)


def _unquoted(value: str) -> str:
    stripped = value.strip()
    if len(stripped) >= 2 and stripped.startswith('"') and stripped.endswith('"'):
        try:
            decoded = json.loads(stripped)
        except ValueError:
            return stripped
        return decoded if isinstance(decoded, str) else stripped
    return stripped
