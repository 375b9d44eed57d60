"""The calendar's pages as people use them, without a browser: book, change, approve, subscribe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta

import icalendar
import pytest
import requests

from mydocker_hub.domain import calendar
from mydocker_hub.domain.pulling import OnNode, Presence, Target, Wanted
from mydocker_hub.services.catalogue.calendar_pages import (
    Words,
    cells,
    instant_of,
    instant_text,
    span,
)
from mydocker_hub.store import pulls
from mydocker_hub.store.database import Database, Session
from mydocker_hub.web.i18n import SITE_ZONE, translator
from tests.conftest import RunHub
from tests.hub import RunningHub, Visitor, text_of

from ..workshop_hub import make
from .test_feeds import booked

PREFIX = "/services/catalogue/"
real = [pytest.mark.hub, pytest.mark.engine]


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "day", "first", "last", "later"),
    [
        ("month", date(2027, 1, 31), date(2026, 12, 28), date(2027, 1, 31), date(2027, 2, 1)),
        ("month", date(2026, 12, 5), date(2026, 11, 30), date(2027, 1, 3), date(2027, 1, 1)),
        ("week", date(2027, 1, 20), date(2027, 1, 18), date(2027, 1, 24), date(2027, 1, 25)),
        ("list", date(2028, 2, 29), date(2028, 2, 1), date(2028, 2, 29), date(2028, 3, 1)),
    ],
)
def test_what_a_view_shows(view, day, first, last, later) -> None:
    shown = span(view, day)
    assert (shown.first, shown.last, shown.later) == (first, last, later)
    assert span(view, shown.later).earlier <= shown.first or view == "month"


def test_the_last_week_of_october_is_longer() -> None:
    starts, ends = span("week", date(2026, 10, 25)).window
    assert ends - starts == timedelta(hours=7 * 24 + 1)


def test_days_with_more_than_fits() -> None:
    shown = span("week", date(2027, 1, 20))
    starts = shown.window[0] - timedelta(hours=1)  # the evening before, into the first day
    [week] = cells(shown, [(starts, starts + timedelta(hours=3), 1)] * 7, None, 4)
    assert [len(cell.times) for cell in week] == [4, 0, 0, 0, 0, 0, 0]
    assert week[0].more == 3


def test_words() -> None:
    words = Words(translator("fr"))
    series = booked({"rule": "FREQ=WEEKLY;BYDAY=MO,TH;UNTIL=20270630"}).session
    assert "lundi, jeudi" in words.rule(series)
    assert "30 juin 2027" in words.rule(series)
    assert words.rule(booked({"rule": "FREQ=DAILY;COUNT=3"}).session) == "FREQ=DAILY;COUNT=3"
    days = ("2027-02-01", "2027-02-02", "2027-05-03")  # the second one is a Tuesday
    without = booked({"rule": "FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630", "left_out": days}).session
    assert words.rule(without).endswith(", sauf lun. 1er févr. et lun. 3 mai")
    assert words.times(without) == "22 fois"
    many = without.model_copy(
        update={"left_out": tuple(date(2027, 3, 1) + timedelta(weeks=week) for week in range(9))}
    )
    assert words.rule(many).endswith(", sauf 9 jours")
    assert words.state(calendar.SessionState.WITHDRAWN) == "demande retirée"
    [slot] = calendar.occurrences(booked({}).session, *span("month", date(2027, 1, 18)).window)
    assert words.slot(slot) == "lundi 18 janvier 2027, 08:30 – 12:30"
    assert instant_of(instant_text(slot.starts)) == slot.starts


# --- pages ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(run_hub: RunHub) -> Iterator[RunningHub]:
    """A hub whose sessions of more than 100 people wait for an administrator."""
    with run_hub(install="session_people_limit=100") as running:
        yield running


@pytest.fixture(scope="module")
def bob(site: RunningHub) -> Iterator[Visitor]:
    with site.signed_in("bob") as visitor:
        yield english(visitor)


@pytest.fixture(scope="module")
def carol(site: RunningHub) -> Iterator[Visitor]:
    with site.signed_in("carol") as visitor:
        yield english(visitor)


@pytest.fixture(scope="module")
def alice(site: RunningHub) -> Iterator[Visitor]:
    with site.signed_in("alice") as visitor:
        yield english(visitor)


def english(visitor: Visitor) -> Visitor:
    visitor.session.headers["Accept-Language"] = "en"
    return visitor


@pytest.fixture
def slug(bob: Visitor) -> str:
    return make(bob)


def next_monday() -> date:
    today = datetime.now(SITE_ZONE).date()
    return today + timedelta(days=7 - today.weekday())


def book(bob: Visitor, slug: str, **changes: str) -> requests.Response:
    page = f"{PREFIX}workshop/environments/{slug}/sessions/new"
    fields = {
        "day": next_monday().isoformat(),
        "time": "08:30",
        "duration": "4 h",
        "repeat": "weekly",
        "every": "1",
        "until": (next_monday() + timedelta(weeks=5)).isoformat(),
        "expected": "30",
        **changes,
    }
    return bob.post_form(page, page, **fields)


def id_of(page: requests.Response) -> int:
    found = re.search(r"/calendar/sessions/([0-9]+)\?done=", page.url)
    assert found, f"{page.url}\n{text_of(page)}"
    return int(found[1])


def version_of(page: requests.Response) -> str:
    found = re.search(r'name="version" value="([0-9]+)"', page.text)
    assert found
    return found[1]


def bring(session: Session, number: int, at: datetime) -> None:
    """Have the image of a session on seven machines of eight."""
    begun = Wanted(number, at, at + timedelta(hours=4), Target("tiny"))
    pull = pulls.begin(session, begun, "sha256:1", datetime.now(UTC))
    nodes = {f"id-{one}": OnNode(name=f"node-{one}", presence=Presence.READY) for one in range(7)}
    nodes["id-7"] = OnNode(name="node-7", presence=Presence.FAILED, error="no space left")
    pulls.note(session, pull.id, nodes, "sha256:1")


class TestPages:
    pytestmark = real

    def test_a_class_is_booked_changed_and_cancelled(self, bob: Visitor, slug: str) -> None:
        page = book(bob, slug, title="Group A", note="Room 5")
        assert page.status_code == 200, text_of(page)
        assert "The session is in the calendar." in text_of(page)
        number = id_of(page)
        at = f"{PREFIX}calendar/sessions/{number}"
        assert page.text.count("Change this day") == 6
        sheet = text_of(page)
        assert "each week (Monday) until" in sheet
        assert "Room 5" in sheet
        month = f"{PREFIX}calendar?environment={slug}&day={next_monday()}"
        for view in ("month", "week", "list"):
            shown = text_of(bob.get(f"{month}&view={view}"))
            assert "08:30 – 12:30" in shown, view
            assert "Workshop test: Group A" in shown, view

        # one day at another hour
        second = datetime.combine(next_monday() + timedelta(days=7), datetime.min.time())
        instant = instant_text(second.replace(hour=8, minute=30, tzinfo=SITE_ZONE).astimezone(UTC))
        form = bob.get(f"{at}/edit?at={instant}")
        assert "Change one day" in text_of(form)
        moved = bob.post_form(
            f"{at}/edit?at={instant}", f"{at}/edit?at={instant}", version=version_of(form),
            day=second.date().isoformat(), time="14:00", duration="2 h", expected="30",
        )  # fmt: skip
        assert "The session was changed." in text_of(moved)
        assert "changed day of a series" in text_of(moved)
        assert "14:00 – 16:00" in text_of(
            bob.get(f"{PREFIX}calendar?environment={slug}&view=week&day={second.date()}")
        )

        # another one does not take place
        third = instant_text(
            second.replace(hour=8, minute=30, tzinfo=SITE_ZONE) + timedelta(days=7)
        )
        question = bob.get(f"{at}/cancel?at={third}")
        assert "Cancel this session?" in text_of(question)
        gone = bob.post_form(
            f"{at}/cancel?at={third}", f"{at}/cancel?at={third}", version=version_of(question),
            reason="Strike",
        )  # fmt: skip
        assert "Strike" in text_of(gone)
        series = bob.get(at)
        assert series.text.count("Change this day") == 4
        changed = series.text.split('id="changed"')[1].split("</ul>")[0]
        assert changed.count("<li>") == 2
        assert f"{second.day}" in changed
        assert "14:00 – 16:00" in changed
        assert changed.count("instead of") == 1  # the other one is at its own time, and cancelled
        assert changed.count("<s>") == 1

        # the whole series
        question = bob.get(f"{at}/cancel")
        assert "Cancel the whole series?" in text_of(question)
        stale = bob.post_form(f"{at}/cancel", f"{at}/cancel", version="99")
        assert stale.status_code == 412
        bob.post_form(f"{at}/cancel", f"{at}/cancel", version=version_of(question))
        assert bob.get(f"{at}/edit").status_code == 409

    def test_this_day_and_all_that_follow(self, bob: Visitor, slug: str) -> None:
        number = id_of(book(bob, slug, title="Before"))
        at = f"{PREFIX}calendar/sessions/{number}"
        days = [
            instant_text(
                datetime.combine(next_monday() + timedelta(weeks=week), time(8, 30), SITE_ZONE)
            )
            for week in range(6)
        ]
        # each form leads to the other two; what follows the first day is the whole series
        for form in ("edit", "cancel"):
            page = bob.get(f"{at}/{form}?at={days[2]}").text
            assert f'/{number}/{form}?at={days[2]}" aria-current="true">' in page
            assert f'/{number}/{form}?from={days[2]}">' in page
            assert f'/{number}/{form}">' in page
            assert "?from=" not in bob.get(f"{at}/{form}?at={days[0]}").text
            assert 'id="which"' not in bob.get(f"{at}/{form}").text
            assert bob.get(f"{at}/{form}?from=20270101T000000Z").status_code == 404
        form = bob.get(f"{at}/edit?from={days[2]}")
        assert "Change this day and all that follow" in text_of(form)
        assert 'value="weekly" checked' in form.text
        fields = {
            "version": version_of(form),
            "title": "After",
            "day": (next_monday() + timedelta(weeks=2)).isoformat(),
            "time": "10:00",
            "duration": "2 h",
            "repeat": "weekly",
            "every": "1",
            "until": (next_monday() + timedelta(weeks=5)).isoformat(),
            "expected": "30",
        }
        edit = f"{at}/edit?from={days[2]}"
        wrong = bob.post_form(edit, edit, **{**fields, "duration": "x"})
        assert wrong.status_code == 422
        assert f"/edit?from={days[2]}" in wrong.text
        changed = bob.post_form(edit, edit, **fields)
        assert "they are a series of their own now" in text_of(changed)
        assert id_of(changed) != number
        assert changed.text.count("Change this day<") == 4
        assert "10:00 – 12:00" in text_of(changed)
        first = bob.get(at)
        assert first.text.count("Change this day<") == 2
        assert "Before" in first.text

        # one that was changed alone leads to its series as well
        edit = f"{at}/edit?at={days[1]}"
        alone = {**fields, "version": version_of(bob.get(edit)), "repeat": "once",
                 "day": (next_monday() + timedelta(weeks=1)).isoformat()}  # fmt: skip
        day = id_of(bob.post_form(edit, edit, **alone))
        page = bob.get(f"{PREFIX}calendar/sessions/{day}/cancel").text
        assert f'/{day}/cancel" aria-current="true">' in page
        assert f'/{number}/cancel?from={days[1]}">' in page

        # the rest of it does not take place
        cancel = f"{at}/cancel?from={days[1]}"
        question = bob.get(cancel)
        assert "Cancel this day and all that follow?" in text_of(question)
        gone = bob.post_form(cancel, cancel, version=version_of(question), reason="Strike")
        assert "It stays in the calendar, struck through." in text_of(gone)
        assert "Strike" in text_of(gone)
        assert bob.get(at).text.count("Change this day<") == 1
        assert bob.get(f"{PREFIX}calendar/sessions/{day}/edit").status_code == 409

    def test_a_request_is_withdrawn(self, bob: Visitor, carol: Visitor, slug: str) -> None:
        number = id_of(book(bob, slug, expected="150", title="Withdrawn"))
        at = f"{PREFIX}calendar/sessions/{number}"
        page = f"{PREFIX}calendar/feeds"
        feeds = [
            f"{bob.hub.url}{PREFIX}{found[0]}"
            for what in ("mine", slug)
            if (found := re.search(r"feeds/[a-z0-9]{24}\.ics",
                                   bob.post_form(page, page, what=what, label="").text))
        ]  # fmt: skip
        assert all(b"Withdrawn" in requests.get(one, timeout=30).content for one in feeds)
        question = bob.get(f"{at}/cancel")
        assert "Nobody had agreed to it" in text_of(question)
        gone = bob.post_form(f"{at}/cancel", f"{at}/cancel", version=version_of(question))
        assert "The request was withdrawn." in text_of(gone)
        assert "struck through" not in text_of(gone)
        assert "Cancel" not in text_of(gone)
        for form in ("edit", "cancel"):
            assert bob.get(f"{at}/{form}").status_code == 409
        for view in ("month", "week", "list"):
            shown = bob.get(f"{PREFIX}calendar?environment={slug}&day={next_monday()}&view={view}")
            assert "Withdrawn" not in shown.text
        assert "request withdrawn" in text_of(
            bob.get(f"{PREFIX}workshop/environments/{slug}/sessions")
        )
        assert f"session-{number}" not in carol.get(f"{PREFIX}admin/sessions").text
        assert len(feeds) == 2
        for one in feeds:
            answer = requests.get(one, timeout=30)
            assert answer.status_code == 200
            assert b"Withdrawn" not in answer.content

    def test_the_script_is_told_what_the_page_shows(
        self, bob: Visitor, alice: Visitor, slug: str
    ) -> None:
        number = id_of(book(bob, slug, title="Group <i>"))
        asked = f"environment={slug}&day={next_monday()}"
        events = f"{PREFIX}calendar/events?{asked}"
        month = bob.get(f"{events}&view=month").json()
        assert bob.get(f"{PREFIX}calendar?{asked}").text.count("session-entry") == len(
            month["events"]
        )
        week = bob.get(f"{events}&view=week").json()
        assert week["events"] == [
            {
                "title": "Workshop test: Group <i>",
                "start": f"{next_monday()}T08:30:00",
                "end": f"{next_monday()}T12:30:00",
                "url": f"{PREFIX}calendar/sessions/{number}",
                "state": "approved",
            }
        ]
        assert (week["from"], week["to"], week["empty"]) == ("08:00", "19:00", False)
        assert f"day={next_monday() + timedelta(days=7)}" in week["addresses"]["later"]
        assert week["heading"] in text_of(bob.get(f"{PREFIX}calendar?{asked}&view=week"))
        # more than a day of a month shows
        for hour in range(13, 18):
            book(bob, slug, repeat="once", time=f"{hour}:00", duration="1 h")
        month = bob.get(f"{events}&view=month").json()["events"]
        [more] = [one for one in month if one.get("more")]
        assert (more["title"], more["start"]) == ("and 2 more", f"{next_monday()}")
        assert "view=list" in more["url"]
        # as the page, for whom the page is
        assert bob.get(f"{events}&view=list").status_code == 400
        assert alice.get(events).status_code == 404
        assert alice.get(f"{PREFIX}calendar/events?show=all").status_code == 403
        assert alice.get(f"{PREFIX}calendar/events?day=2199-01-01").json()["empty"]
        found = requests.get(f"{bob.hub.url}{events}", allow_redirects=False, timeout=30)
        assert found.status_code == 302  # to sign in

    def test_without_an_end_or_over_five_years(self, bob: Visitor, slug: str) -> None:
        until = next_monday() + timedelta(days=6 * 366)
        page = book(bob, slug, until=until.isoformat())
        assert page.status_code == 422
        assert "a series lasts at most five years" in text_of(page)
        page = book(bob, slug, repeat="rule", rule="FREQ=WEEKLY;BYDAY=MO")
        assert page.status_code == 422
        assert 'id="problem-rule"' in page.text
        assert "say when it ends" in text_of(page)

    def test_whether_the_image_is_on_the_machines(
        self, site: RunningHub, bob: Visitor, carol: Visitor, alice: Visitor, slug: str
    ) -> None:
        number = id_of(book(bob, slug))
        at = datetime.combine(next_monday(), time(8, 30), SITE_ZONE).astimezone(UTC)
        with closing(Database(f"sqlite:///{site.state / 'catalogue.sqlite'}")) as database:
            database.write_now(bring, number, at)
        page = text_of(bob.get(f"{PREFIX}calendar/sessions/{number}"))
        assert "Ready on 7 of 8 machines" in page
        assert "node-7 – could not get it, and tries again" in page
        assert "Load forecast" in text_of(carol.get(f"{PREFIX}calendar"))
        assert "Load forecast" not in text_of(bob.get(f"{PREFIX}calendar"))
        assert 'aria-current="page"' in alice.get(f"{PREFIX}calendar").text

    def test_a_wrong_form_is_shown_again(self, bob: Visitor, slug: str) -> None:
        page = book(bob, slug, duration="for ever", until="", note="Kept <b>")
        assert page.status_code == 422
        assert 'aria-invalid="true" aria-describedby="problem-duration"' in page.text
        assert 'id="problem-until"' in page.text
        assert "Kept &lt;b&gt;" in page.text
        assert 'value="weekly" checked' in page.text

    def test_what_meets_is_said(self, bob: Visitor, slug: str) -> None:
        book(bob, slug, title="First")
        page = book(bob, slug, title="Second", time="12:00")
        assert "Other sessions of this environment take place meanwhile" in text_of(page)
        assert "First" in page.text
        assert page.text.index('id="overlaps"') < page.text.index('class="sheet"')

    def test_last_years_sessions(self, bob: Visitor, slug: str) -> None:
        number = id_of(book(bob, slug, title="Yearly"))
        page = f"{PREFIX}workshop/environments/{slug}/sessions"
        first = next_monday() + timedelta(days=364)
        copied = bob.post_form(page, page, sessions=str(number), first=first.isoformat(), until="")
        assert "The sessions were booked again" in text_of(copied)
        assert copied.text.count(": Yearly") == 2
        wrong = bob.post_form(page, page, first="", until="")
        assert wrong.status_code == 422
        assert "choose at least one session" in text_of(wrong)

    def test_a_large_one_waits(self, bob: Visitor, carol: Visitor, slug: str) -> None:
        page = book(bob, slug, expected="150")
        number = id_of(page)
        assert "waits for an administrator" in text_of(page)
        assert 'id="done"' not in page.text  # it is said once
        assert 'id="waits"' in bob.get(f"{PREFIX}calendar/sessions/{number}").text
        queue = f"{PREFIX}admin/sessions"
        waiting = carol.get(queue)
        assert "more than 100 people" in text_of(waiting)
        section = waiting.text[waiting.text.index(f'id="session-{number}"') :]
        version = re.search(r'name="version" value="([0-9]+)"', section)
        assert version
        asked = {"session": str(number), "version": version[1]}
        assert bob.get(queue).status_code == 403
        refused = bob.post_form(f"{PREFIX}calendar/feeds", queue, **asked, decision="approve")
        assert refused.status_code == 403
        why = carol.post_form(queue, queue, **asked, decision="refuse", reason="")
        assert why.status_code == 422
        assert "say why" in text_of(why)
        done = carol.post_form(queue, queue, **asked, decision="refuse", reason="Too many")
        assert "The session was refused" in text_of(done)
        assert "Refused: Too many" in text_of(bob.get(f"{PREFIX}calendar/sessions/{number}"))
        late = carol.post_form(f"{PREFIX}calendar/feeds", queue, **asked, decision="approve")
        assert late.status_code == 412

    def test_what_students_see(self, alice: Visitor, bob: Visitor, slug: str) -> None:
        number = id_of(book(bob, slug))
        at = f"{PREFIX}calendar/sessions/{number}"
        assert alice.get(at).status_code == 404
        assert alice.get(f"{PREFIX}calendar?environment={slug}").status_code == 404
        assert alice.get(f"{PREFIX}calendar?show=all").status_code == 403
        for below in ("/edit", "/cancel"):
            assert alice.get(at + below).status_code == 403
        for odd in (
            "",
            "?view=x&day=2027-02-30&page=99999",
            "?view=list&page=0",
            "?day=2199-12-31",
        ):
            assert alice.get(f"{PREFIX}calendar{odd}").status_code == 200

    def test_a_feed(self, site: RunningHub, alice: Visitor, bob: Visitor, slug: str) -> None:
        number = id_of(book(bob, slug, title="Fed"))
        page = f"{PREFIX}calendar/feeds"
        made = bob.post_form(page, page, action="make", what="mine", label="Phone")
        found = re.search(r"feeds/([a-z0-9]{24})\.ics", made.text)
        assert found
        address = f"{site.url}{PREFIX}{found[0]}"
        read = requests.get(address, timeout=30)
        assert read.status_code == 200
        assert read.headers["Content-Type"] == "text/calendar; charset=utf-8"
        events = icalendar.Calendar.from_ical(read.content).walk("VEVENT")
        [event] = [one for one in events if one["URL"].endswith(f"sessions/{number}")]
        assert event["SUMMARY"].endswith(": Fed")
        again = requests.get(address, headers={"If-None-Match": read.headers["ETag"]}, timeout=30)
        assert again.status_code == 304
        assert requests.head(address, timeout=30).status_code == 200
        assert found[1] not in site.log()
        assert found[1] not in bob.get(page).text
        assert "last read" in text_of(bob.get(page))
        # only its person withdraws it
        digest = re.search(r'name="feed" value="([0-9a-f]{64})"', bob.get(page).text)
        assert digest
        other = alice.post_form(page, page, action="withdraw", feed=digest[1])
        assert other.status_code == 404
        bob.post_form(page, page, action="withdraw", feed=digest[1])
        gone = requests.get(address, timeout=30)
        assert (gone.status_code, gone.headers["Content-Type"]) == (
            404,
            "text/plain; charset=utf-8",
        )
        # not for everybody
        assert alice.post_form(page, page, action="make", what="all").status_code == 403
        assert alice.post_form(page, page, action="make", what=slug).status_code == 404
