"""French and English: sentences, numbers, dates and quantities as people read them.

Sentences are written in English in the code, `N_("…")` or `_("…")` in a template, with parameters
as `%(name)s`; `locale/<language>/LC_MESSAGES/mydocker_hub.po` holds the others. The catalogues are
read as they are, so there is no build step; `scripts/messages` brings them up to date. An empty
translation means "as in the code", which is how the English catalogue looks.
"""

from __future__ import annotations

import datetime as dt
import gettext as gettext_module
import io
import re
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime, format_time
from babel.lists import format_list
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.units import format_unit

from mydocker_hub.domain.environment import Lifetime, Resources, Storage, Text
from mydocker_hub.domain.errors import N_, Invalid, MydockerError

LANGUAGES = ("fr", "en")
LANGUAGE_NAMES = {"fr": "Français", "en": "English"}
COOKIE = "mydocker_lang"
"""The cookie that keeps the choice of somebody who used the switch."""

DOMAIN = "mydocker_hub"
SITE_ZONE: dt.tzinfo = ZoneInfo("Europe/Paris")

STEPS = {
    "node": N_("Finding a machine"),
    "image": N_("Getting the software (image)"),
    "container": N_("Starting the container"),
    "folder": N_("Opening your personal folder"),
    "interface": N_("Starting the interface"),
}
"""The five steps of a start, in their order."""

# Sentences that the hub itself shows, in English; `Translator.known` translates them.
_HUB_SENTENCES = (
    N_("Invalid username or password"),
    N_("Login form invalid or expired. Try again."),
    N_("Identify the owner of the requesting entity."),
    N_("Anything you have access to"),
    N_("Access user servers via API or browser."),
    N_("Access services via API or browser."),
    N_("Manage access to shared servers."),
    N_("only you"),
)

_BYTE_PARAMETERS = {"memory", "limit"}
_MISSING = "…"
_FIRST_OF_MONTH = re.compile(r"\b1(?= [^\W\d])")


# --- which language ------------------------------------------------------------------------------

_ACCEPTED = re.compile(
    r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q\s*=\s*([0-9.]{1,6})\s*)?"
)


def _quality(text: str | None) -> float:
    if text is None:
        return 1.0
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


def choose_language(
    cookie: str | None, accept_language: str | None, default: str = LANGUAGES[0]
) -> str:
    """The language for a request: the person's own choice, else the browser's, else `default`.

    Whatever the two headers hold, the answer is one of `LANGUAGES`.
    """
    if cookie in LANGUAGES:
        return cookie
    best, best_quality = default, 0.0
    for item in (accept_language or "")[:1000].split(","):
        match = _ACCEPTED.fullmatch(item)
        if not match:
            continue
        tag, quality = match[1].lower(), _quality(match[2])
        language = default if tag == "*" else tag
        if language in LANGUAGES and quality > best_quality:
            best, best_quality = language, quality
    return best


# --- sentences -----------------------------------------------------------------------------------


class _Parameters(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return _MISSING


def _fill(sentence: str, parameters: Mapping[str, Any]) -> str:
    """The sentence with its parameters; one that is missing shows as an ellipsis."""
    try:
        return sentence % _Parameters(parameters)
    except (TypeError, ValueError):  # a % that is no parameter: the sentence is its own text
        return sentence


def _translations(lang: str) -> gettext_module.NullTranslations:
    source = files("mydocker_hub") / "locale" / lang / "LC_MESSAGES" / f"{DOMAIN}.po"
    with source.open("rb") as file:
        catalogue = read_po(file, locale=lang, domain=DOMAIN)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext_module.GNUTranslations(compiled)


_WARNINGS = {
    "idle": N_("Nothing has been done in it for a while: it stops at %(time)s."),
    "time-over": N_(
        "It has run for nearly as long as it may: it stops at %(time)s, whatever you do. "
        "Save your work."
    ),
    "unanswered": N_("Are you still using it? Without an answer it stops at %(time)s."),
    "exam-over": N_("The exam ends at %(time)s, and this stops with it. Save your work before."),
    "session-over": N_(
        "The session ends at %(time)s, and this stops with it. Save your work before."
    ),
    "trial-over": N_("This trial ends at %(time)s, and nothing of it is kept."),
}


class Translator:
    """One language: its sentences, and how it writes numbers, dates and quantities.

    What comes back is plain text, to be escaped by the template as any other text.
    """

    def __init__(self, lang: str) -> None:
        if lang not in LANGUAGES:
            raise ValueError(f"no catalogue for the language {lang!r}, only {', '.join(LANGUAGES)}")
        self.lang = lang
        # Days come before months and the clock has 24 hours, in English too.
        self.locale = Locale.parse({"en": "en_GB"}.get(lang, lang))

    def __repr__(self) -> str:
        return f"Translator({self.lang!r})"

    @cached_property
    def catalogue(self) -> gettext_module.NullTranslations:
        return _translations(self.lang)

    # sentences

    def gettext(self, message: str, /, **params: Any) -> str:
        """The sentence in this language, with its parameters. Write % itself as %%."""
        return _fill(self.catalogue.gettext(message), self._shown(params))

    def ngettext(self, singular: str, plural: str, n: float, /, **params: Any) -> str:
        """As `gettext`, by number; `%(n)s` is the number, as this language writes it."""
        whole = n if n in (0, 1) else 1 if 0 < n < 1 else max(2, int(n))  # 1.5 CPUs, 0.5 CPU
        sentence = self.catalogue.ngettext(singular, plural, int(whole))
        return _fill(sentence, {"n": self.number(n), **self._shown(params)})

    def known(self, sentence: str) -> str:
        """The translation of a sentence of the hub's own; any other text comes back as it is."""
        return self.catalogue.gettext(sentence) if sentence else ""

    def text(self, text: Text | Mapping[str, Any] | str | None) -> str:
        """A text of the catalogue in this language, in the other where this one is empty."""
        if text is None:
            return ""
        if isinstance(text, str):
            return text
        by_language = (
            {language: text.in_(language) for language in LANGUAGES}
            if isinstance(text, Text)
            else {key: str(value) for key, value in text.items() if value is not None}
        )
        wanted = by_language.get(self.lang, "")
        if wanted.strip():
            return wanted
        return next((other for other in by_language.values() if other.strip()), "")

    def error(self, error: MydockerError) -> str:
        """The sentence of an error, for the person in front.

        A `Text` (or a dict with fr and en) is shown in this language, an instant in the site's
        zone, `memory` and `limit` as bytes when they are numbers, `step` by its name, a `detail`
        that is a sentence of ours in this language. `day_and_time` is `when` with its weekday.
        """
        params = dict(error.params)
        if isinstance(params.get("when"), dt.datetime):
            params["day_and_time"] = self.day_and_time(params["when"])
        if isinstance(error, Invalid) and error.problems:
            colon, semicolon = ("\xa0: ", "\u202f; ") if self.lang == "fr" else (": ", "; ")
            params["detail"] = semicolon.join(
                f"{field}{colon}{self.known(text)}" if field else self.known(text)
                for field, text in error.problems
            )
        return self.gettext(error.sentence, **{str(name): value for name, value in params.items()})

    def _shown(self, params: Mapping[str, Any]) -> dict[str, str]:
        return {name: self._show(name, value) for name, value in params.items()}

    def _show(self, name: str, value: Any) -> str:
        if value is None:
            return _MISSING
        if isinstance(value, Text) or (isinstance(value, Mapping) and set(LANGUAGES) & set(value)):
            return self.text(value)
        if isinstance(value, dt.datetime):
            return self.datetime(value)
        if isinstance(value, dt.timedelta):
            return self.duration(value)
        if isinstance(value, dt.date):
            return self.date(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return self.bytes(int(value)) if name in _BYTE_PARAMETERS else self.number(value)
            except (ArithmeticError, ValueError):  # infinite, not a number, beyond all measure
                return str(value)
        if name == "step" and isinstance(value, str) and value in STEPS:
            return self.known(STEPS[value])
        if name == "detail" and isinstance(value, str):
            return self.known(value)
        return str(value)

    # numbers, dates

    def number(self, number: float) -> str:
        """A number with at most two decimals: 1,5 in French, 1.5 in English."""
        return format_decimal(number, format="#,##0.##", locale=self.locale)

    def date(self, day: dt.date, zone: dt.tzinfo = SITE_ZONE) -> str:
        """22 novembre 2026, in the zone when `day` is an instant."""
        return self.day(_in_zone(day, zone), "d MMMM y")

    def day(self, day: dt.date, pattern: str) -> str:
        """A day as a pattern of CLDR says: 1er décembre 2026, but 2 décembre 2026."""
        return self._spelt(format_date(day, pattern, locale=self.locale))

    def time(self, instant: dt.datetime, zone: dt.tzinfo = SITE_ZONE) -> str:
        """14:05."""
        return format_time(_in_zone(instant, zone), "HH:mm", locale=self.locale)

    def datetime(self, instant: dt.datetime, zone: dt.tzinfo = SITE_ZONE) -> str:
        """22 novembre 2026 à 14:05. An instant without a zone is UTC, as in the hub's database."""
        pattern = "d MMMM y 'à' HH:mm" if self.lang == "fr" else "d MMMM y 'at' HH:mm"
        return self._spelt(format_datetime(_in_zone(instant, zone), pattern, locale=self.locale))

    def day_and_time(self, instant: dt.datetime, zone: dt.tzinfo = SITE_ZONE) -> str:
        """lundi 23 novembre 2026 à 08:30."""
        weekday = format_date(_in_zone(instant, zone), "EEEE", locale=self.locale)
        return f"{weekday} {self.datetime(instant, zone)}"

    def ago(self, instant: dt.datetime, now: dt.datetime | None = None) -> str:
        """“5 minutes ago”, “in 2 days”: whole units, rounded down."""
        now = _aware(now or dt.datetime.now(dt.UTC))
        seconds = int((now - _aware(instant)).total_seconds())
        distance = abs(seconds)
        unit, size = next(item for item in _UNITS if distance >= item[1] or item[1] == 1)
        count = distance // size
        if unit == "second" and count < 10:
            return self.gettext("just now") if seconds >= 0 else self.gettext("in a moment")
        spelt = self._unit(count, unit)
        if seconds >= 0:
            return self.gettext("%(duration)s ago", duration=spelt)
        return self.gettext("in %(duration)s", duration=spelt)

    def duration(self, duration: dt.timedelta | float) -> str:
        """“20 minutes”, “1 hour and 30 minutes”: a timedelta or seconds, its two largest units."""
        left = duration.total_seconds() if isinstance(duration, dt.timedelta) else duration
        left = max(0, round(left))
        parts: list[str] = []
        for unit, size in _UNITS:
            if left >= size and len(parts) < 2:
                parts.append(self._unit(left // size, unit))
            elif parts:
                break
            left %= size
        return format_list(parts or [self._unit(0, "second")], locale=self.locale)

    def bytes(self, size: int) -> str:
        """4 Go in French, 4 GB in English: decimal units, at most one decimal."""
        amount, unit = float(size), "byte"
        for larger in ("kilobyte", "megabyte", "gigabyte", "terabyte"):
            if round(amount, 1) < 1000:
                break
            amount, unit = amount / 1000, larger
        if unit == "byte" and self.lang == "en":
            return f"{self.number(amount)} B"
        return format_unit(
            round(amount, 1),
            f"digital-{unit}",
            length="short",
            format="#,##0.#",
            locale=self.locale,
        )

    def _spelt(self, text: str) -> str:
        # The one ordinal among French dates, which CLDR does not have.
        return _FIRST_OF_MONTH.sub("1er", text) if self.lang == "fr" else text

    def _unit(self, count: int, unit: str) -> str:
        return format_unit(count, f"duration-{unit}", length="long", locale=self.locale)

    # an environment in words

    def resources(self, resources: Resources, storage: Storage, lifetime: Lifetime) -> list[str]:
        """What an environment offers, one phrase each: folders, CPUs, memory, when it stops."""
        return [
            *self._folders(storage),
            self._cpus(resources),
            (
                self.gettext("%(size)s of memory", size=self.bytes(resources.memory_bytes))
                if resources.memory_bytes
                else self.gettext("no limit on memory")
            ),
            *self._ends(lifetime),
        ]

    def _folders(self, storage: Storage) -> Iterator[str]:
        both = storage.dedicated and storage.global_
        if storage.dedicated:
            yield self.gettext("dedicated personal folder")
        if storage.global_ and both:
            yield self.gettext("global personal folder in %(path)s", path=storage.global_)
        elif storage.global_:
            yield self.gettext("global personal folder")
        elif not storage.dedicated:
            yield self.gettext("no personal folder: no file is kept")

    def _cpus(self, resources: Resources) -> str:
        limit, share = resources.cpu_limit, resources.cpu_share
        if limit and share and share < limit:
            return self.gettext(
                "%(share)s to %(limit)s CPUs, as the machine is more or less busy",
                share=self.number(share),
                limit=self.number(limit),
            )
        if limit:
            return self.ngettext("%(n)s CPU at most", "%(n)s CPUs at most", limit)
        if share:
            return self.ngettext(
                "%(n)s CPU, more while the machine is not busy",
                "%(n)s CPUs, more while the machine is not busy",
                share,
            )
        return self.gettext("no limit on CPUs")

    def warning(self, code: str, stops_at: dt.datetime) -> str:
        """What a person is told of a stop to come (`domain.culling`)."""
        return self.gettext(_WARNINGS[code], time=self.time(stops_at))

    def _ends(self, lifetime: Lifetime) -> Iterator[str]:
        if lifetime.idle_limit:
            yield self.gettext(
                "stops after %(duration)s without interaction",
                duration=self.duration(lifetime.idle_limit),
            )
        if lifetime.maximum:
            yield self.gettext(
                "stops %(duration)s after its start", duration=self.duration(lifetime.maximum)
            )


_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def _aware(instant: dt.datetime) -> dt.datetime:
    return instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)


def _in_zone(day: Any, zone: dt.tzinfo) -> Any:
    if not isinstance(day, dt.datetime):
        return day
    try:
        return _aware(day).astimezone(zone)
    except OverflowError:  # the first or last hours of the calendar
        return day


@lru_cache(maxsize=len(LANGUAGES))
def translator(lang: str) -> Translator:
    """The translator of a language; there is one of each."""
    return Translator(lang)
