"""The load forecast, for administrators: what sessions ask of the machines, and quiet times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_skeleton
from tornado.web import RequestHandler

from ...domain.errors import N_, MydockerError
from ...domain.forecast import CPUS, HOUR, MEMORY, Hour, Period, Shortage, floor
from ...domain.machines import Machine
from ...store import forecast
from ...store.forecast import Forecast
from ...web.i18n import SITE_ZONE, Translator
from ...web.service import now
from .api import Context
from .people_pages import AdminPage

DAYS = (7, 14, 28)
PEOPLE = "people"
_TITLES = {
    PEOPLE: N_("People at the same time"),
    CPUS: N_("CPUs"),
    MEMORY: N_("Memory"),
}
_ZONE = str(SITE_ZONE)


# --- the drawing ---------------------------------------------------------------------------------

WIDTH, HEIGHT = 960, 150
"""Of a drawing, in its own units: it is scaled with the page."""
_LABEL = 13  # the height of a line of text


@dataclass(frozen=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True)
class Chart:
    """One quantity over time, as paths; `capacity` is the height of the line that is too much.

    `top` is what the drawing's upper edge stands for, `over` are the hours that will not fit as
    (x, width).
    """

    title: str
    summary: str
    top: str
    expected: str
    likely: str
    used: str
    capacity: float | None
    capacity_label: str
    capacity_label_y: float
    over: list[tuple[float, float]]
    days: list[Tick]
    now: float | None


def steps(values: Sequence[float | None], top: float) -> str:
    """The path of values that each last for one of equal steps; None leaves a gap."""
    width = WIDTH / max(1, len(values))
    path, drawing = [], False
    for number, value in enumerate(values):
        if value is None:
            drawing = False
            continue
        y = HEIGHT - HEIGHT * min(value / top, 1) if top else HEIGHT
        path.append(f"{'L' if drawing else 'M'}{number * width:.1f} {y:.1f}")
        path.append(f"H{(number + 1) * width:.1f}")
        drawing = True
    return "".join(path)


def area(values: Sequence[float], top: float) -> str:
    """The same, filled down to nothing."""
    return f"M0 {HEIGHT}{steps(values, top).replace('M', 'L', 1)}V{HEIGHT}Z" if values else ""


class Drawing:
    """Charts of a forecast in one language."""

    def __init__(self, found: Forecast, translator: Translator, moment: datetime) -> None:
        self._found = found
        self._tr = translator
        self._moment = moment

    def charts(self) -> list[Chart]:
        """People, CPUs, memory, and each generic resource that is there or asked for."""
        kinds = {kind for hour in self._found.hours for kind in (*hour.needed, *hour.taken)}
        kinds |= set((self._found.there or {}).get("", {}))
        generic = sorted(kinds - {CPUS, MEMORY})
        return [self._people(), *(self._resource(kind) for kind in (CPUS, MEMORY, *generic))]

    def title(self, kind: str) -> str:
        return self._tr.gettext(_TITLES[kind]) if kind in _TITLES else kind

    def amount(self, kind: str, value: float) -> str:
        return self._tr.bytes(int(value)) if kind == MEMORY else self._tr.number(round(value, 1))

    def _people(self) -> Chart:
        hours = self._found.hours
        likely = [hour.likely for hour in hours] if self._found.turnout else []
        return self._chart(
            PEOPLE,
            [hour.people for hour in hours],
            likely=likely,
            used=[hour.used for hour in hours],
        )

    def _resource(self, kind: str) -> Chart:
        there = (self._found.there or {}).get("")
        return self._chart(
            kind,
            [hour.needed.get(kind, 0) for hour in self._found.hours],
            used=[
                None if hour.used is None else hour.taken.get(kind, 0) for hour in self._found.hours
            ],
            capacity=there.get(kind, 0) if there is not None else None,
            over=lambda hour: any(one.kind == kind for one in hour.shortages),
        )

    def _chart(
        self,
        kind: str,
        expected: list[float],
        *,
        likely: Sequence[float] = (),
        used: Sequence[float | None] = (),
        capacity: float | None = None,
        over: Callable[[Hour], bool] = lambda hour: False,
    ) -> Chart:
        most = max(expected, default=0)
        drawn = [*expected, *likely, *(value for value in used if value is not None)]
        top = max([*drawn, capacity or 0], default=0) * 1.05 or 1
        width = WIDTH / max(1, len(expected))
        hours = self._found.hours
        line = None if capacity is None else HEIGHT - HEIGHT * capacity / top
        return Chart(
            title=self.title(kind),
            summary=self._summary(kind, most, capacity),
            top=self.amount(kind, top),
            expected=area(expected, top),
            likely=steps(likely, top),
            used=steps(used, top),
            capacity=line,
            capacity_label="" if capacity is None else self.amount(kind, capacity),
            # above the line, where there is room
            capacity_label_y=0 if line is None else line + (_LABEL if line < _LABEL else -4),
            over=[(n * width, width) for n, hour in enumerate(hours) if over(hour)],
            days=list(self._days()),
            now=self._now(),
        )

    def _summary(self, kind: str, most: float, capacity: float | None) -> str:
        if not most:
            return self._tr.gettext("No session asks for any.")
        when = next(
            hour.starts
            for hour in self._found.hours
            if (hour.people if kind == PEOPLE else hour.needed.get(kind, 0)) == most
        )
        shown = self.amount(kind, most)
        if capacity is None:
            return self._tr.gettext("At most %(most)s, on %(when)s.", most=shown, when=when)
        return self._tr.gettext(
            "At most %(most)s of %(there)s, on %(when)s.",
            most=shown,
            there=self.amount(kind, capacity),
            when=when,
        )

    def _days(self) -> Iterable[Tick]:
        hours = self._found.hours
        sparse = len(hours) > 15 * 24
        for number, hour in enumerate(hours):
            wall = hour.starts.astimezone(SITE_ZONE)
            if wall.hour == 0 and (not sparse or wall.weekday() == 0):
                label = format_skeleton("EEEd", wall, locale=self._tr.locale)
                yield Tick(number * WIDTH / len(hours), label)

    def _now(self) -> float | None:
        hours = self._found.hours
        if not hours or not hours[0].starts <= self._moment < hours[-1].starts + HOUR:
            return None
        return (self._moment - hours[0].starts) / (HOUR * len(hours)) * WIDTH


# --- the page ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A line of the table: hours of one day in which the same is asked for."""

    starts: datetime
    ends: datetime
    hour: Hour


def table(hours: Iterable[Hour]) -> list[tuple[date, list[Line]]]:
    """The hours in which something is booked or was used, by day; those alike come together."""
    days: dict[date, list[Line]] = {}
    for hour in hours:
        if not hour.people and not hour.used:
            continue
        lines = days.setdefault(hour.starts.astimezone(SITE_ZONE).date(), [])
        last = lines[-1] if lines else None
        if last is not None and last.ends == hour.starts and _same(last.hour, hour):
            lines[-1] = Line(last.starts, hour.starts + HOUR, last.hour)
        else:
            lines.append(Line(hour.starts, hour.starts + HOUR, hour))
    return list(days.items())


def _same(one: Hour, other: Hour) -> bool:
    return replace(one, starts=other.starts) == other


def span(first: date, days: int) -> tuple[datetime, datetime]:
    """From midnight to midnight by the clock on the wall, as instants."""
    zone = ZoneInfo(_ZONE)
    starts = datetime.combine(first, time(), zone)
    ends = datetime.combine(first + timedelta(days=days), time(), zone)
    return floor(starts), floor(ends)


class ForecastPage(AdminPage):
    """`/admin/forecast?from=DAY&days=7|14|28`."""

    async def get(self) -> None:
        moment = now()
        today = moment.astimezone(SITE_ZONE).date()
        first = self._first(today)
        days = int(self.query("days")) if self.query("days") in map(str, DAYS) else 14
        starts, ends = span(first, days)
        machines, trouble = await self._machines()
        found = await self.database.read(
            forecast.forecasted, starts, ends, moment, machines=machines, zone=_ZONE
        )
        drawing = Drawing(found, self.translator, moment)
        self.render_page(
            "forecast/forecast.html",
            found=found,
            charts=drawing.charts(),
            width=WIDTH,
            height=HEIGHT,
            days=table(found.hours),
            kinds=self._kinds(found),
            quiet=sorted(found.quiet, key=lambda period: (-period.length, period.starts)),
            drawing=drawing,
            machines=machines,
            trouble=trouble,
            first=first,
            length=days,
            lengths=DAYS,
            earlier=first - timedelta(days=days),
            later=first + timedelta(days=days),
            day_of=self._day,
            when=self._when,
            clock=self._clock,
            short=self._short,
        )

    def _first(self, today: date) -> date:
        """The day that was asked for; this week's Monday otherwise."""
        asked = self.query("from", 10)
        if re.fullmatch(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", asked):
            try:
                return date.fromisoformat(asked)
            except ValueError:
                pass
        return today - timedelta(days=today.weekday())

    async def _machines(self) -> tuple[list[Machine] | None, MydockerError | None]:
        context: Context = self.settings["context"]
        if context.builder is None:
            return None, None
        try:
            return await context.builder.machines(), None
        except MydockerError as error:
            return None, error

    def _kinds(self, found: Forecast) -> list[str]:
        asked = {kind for hour in found.hours for kind in (*hour.needed, *hour.taken)}
        return [CPUS, MEMORY, *sorted(asked - {CPUS, MEMORY})]

    def _day(self, day: date) -> str:
        return str(format_date(day, "EEEE d MMMM", locale=self.translator.locale))

    def _when(self, period: Period) -> str:
        """“Monday 5 October, 8:30 – 12:30”, or to another day."""
        first = self._day(period.starts.astimezone(SITE_ZONE).date())
        # the last hour of a day ends on it
        last = self._day((period.ends - HOUR).astimezone(SITE_ZONE).date())
        if first == last:
            return f"{first}, {self._clock(period.starts, period.ends)}"
        until = self._clock(period.starts, period.ends).rpartition(" – ")[2]
        return f"{first}, {self.translator.time(period.starts)} – {last}, {until}"

    def _clock(self, starts: datetime, ends: datetime) -> str:
        """“8:30 – 12:30” of one day; the end of a day is 24:00."""
        until = self.translator.time(ends)
        return f"{self.translator.time(starts)} – {'24:00' if until == '00:00' else until}"

    def _short(self, shortage: Shortage, found: Forecast, drawing: Drawing) -> str:
        """What is short, in words."""
        values = {
            "kind": drawing.title(shortage.kind),
            "needed": drawing.amount(shortage.kind, shortage.needed),
            "there": drawing.amount(shortage.kind, shortage.there),
        }
        if not shortage.compute_type:
            return self.translator.gettext(
                "%(kind)s: %(needed)s wanted, %(there)s on all machines", **values
            )
        title = found.titles.get(shortage.compute_type, shortage.compute_type)
        return self.translator.gettext(
            "%(kind)s: %(needed)s wanted, %(there)s on the machines of “%(title)s”",
            title=title,
            **values,
        )


ROUTES: list[tuple[str, type[RequestHandler]]] = [("admin/forecast", ForecastPage)]
