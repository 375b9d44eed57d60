"""Mails that wait: written with what they tell of, for whoever is concerned, and taken once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from mydocker_hub.domain import calendar
from mydocker_hub.domain.access import Right
from mydocker_hub.domain.calendar import Site
from mydocker_hub.domain.errors import Conflict, Refused
from mydocker_hub.domain.people import Role
from mydocker_hub.services.catalogue import sessions_api
from mydocker_hub.store import mails, workshop
from mydocker_hub.store.database import Database
from mydocker_hub.store.editing import person_row
from mydocker_hub.store.tables import MailRow, PersonRow, RoleDecisionRow

from .conftest import ALICE, BOB, CAROL, DAN

NOW = datetime(2027, 1, 10, 12, tzinfo=UTC)
SITE = Site(people_limit=100, mails=True)
QUIET = Site(people_limit=100)
MINUTE = timedelta(minutes=1)
SECOND = datetime(2027, 1, 25, 7, 30, tzinfo=UTC)


def mondays(**changes) -> calendar.Session:
    return calendar.Session.model_validate(
        {
            "starts": "2027-01-18T08:30",
            "duration": "PT4H",
            "rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=4",
            "expected": 300,
            **changes,
        }
    )


@pytest.fixture
def lab(database: Database, add):
    """Bob's environment, which Dan edits and Alice was shown; Carol administers."""
    add()

    def people(session):
        for person in (ALICE, BOB, CAROL, DAN):
            row = person_row(session, person, NOW)
            row.mail = f"{person.name}@univ-a.example"
            row.language = "en" if person is CAROL else ""
        session.flush()
        carol = session.scalars(select(PersonRow).where(PersonRow.name == "carol")).one()
        session.add(
            RoleDecisionRow(
                person_id=carol.id, role=Role.ADMIN, granted=True, decided_by="x", decided_at=NOW
            )
        )
        workshop.give_right(session, "lab", BOB, "dan", Right.EDIT, NOW)
        workshop.give_right(session, "lab", BOB, "alice", Right.VIEW, NOW)

    database.write_now(people)
    return database


def written(database: Database, *, since: int = 0) -> list[str]:
    rows = database.read_now(
        lambda s: s.scalars(select(MailRow).where(MailRow.id > since).order_by(MailRow.id)).all()
    )
    return sorted(f"{row.address.split('@')[0]} {row.template}" for row in rows)


def forget(database: Database) -> None:
    database.write_now(mails.clean, NOW + timedelta(days=31))


def book(database: Database, actor=BOB, site=SITE, **changes):
    return database.write_now(sessions_api.book, "lab", mondays(**changes), actor, NOW, site)


def test_a_request_and_its_answer(lab):
    booked = book(lab)
    assert written(lab) == ["carol session-requested"]
    forget(lab)
    with pytest.raises(Refused):  # who may decide is asked where it is done
        lab.write_now(
            sessions_api.decide, booked.id, BOB, approved=True, reason="", now=NOW, site=SITE,
            expected_sequence=0,
        )  # fmt: skip
    lab.write_now(
        sessions_api.decide, booked.id, CAROL, approved=False, reason="Too many.", now=NOW,
        site=SITE, expected_sequence=0,
    )  # fmt: skip
    assert written(lab) == ["bob session-refused", "dan session-refused"]
    letter = lab.write_now(mails.take, NOW)
    assert letter
    assert (letter.params["reason"], letter.params["by"]) == ("Too many.", "carol")


def test_what_needs_no_answer_is_told_to_nobody(lab):
    book(lab, expected=30)
    book(lab, actor=CAROL)  # agreed to at once: it is hers to say
    assert written(lab) == []


def test_without_a_mail_server_nothing_is_written(lab):
    booked = book(lab, site=QUIET)
    lab.write_now(
        sessions_api.decide, booked.id, CAROL, approved=True, reason="", now=NOW, site=QUIET,
        expected_sequence=0,
    )  # fmt: skip
    lab.write_now(sessions_api.cancel, booked.id, CAROL, NOW, QUIET, expected_sequence=1)
    lab.write_now(sessions_api.copy, "lab", [booked.id], BOB, NOW, QUIET, first=NOW.date())
    assert written(lab) == []


@pytest.mark.parametrize(
    ("changes", "state", "expected"),
    [
        ({"expected": 200}, "approved", ["dan session-changed"]),
        ({"expected": 400}, "requested", ["carol session-requested", "dan session-changed"]),
        (
            {"starts": "2027-01-18T09:30"},
            "requested",
            ["carol session-requested", "dan session-changed"],
        ),
        ({"note": "Bring a pen."}, "approved", ["dan session-changed"]),
        ({}, "approved", []),
    ],
)
def test_what_was_agreed_to_is_changed(lab, changes, state, expected):
    booked = book(lab)
    lab.write_now(
        sessions_api.decide, booked.id, CAROL, approved=True, reason="", now=NOW, site=SITE,
        expected_sequence=0,
    )  # fmt: skip
    forget(lab)
    changed = lab.write_now(
        sessions_api.change, booked.id, mondays(**changes), BOB, NOW, SITE, expected_sequence=1
    )
    assert (changed.state, written(lab)) == (state, expected)


def test_what_waits_is_not_asked_twice(lab):
    booked = book(lab)
    forget(lab)
    lab.write_now(
        sessions_api.change, booked.id, mondays(expected=350), BOB, NOW, SITE, expected_sequence=0
    )
    assert written(lab) == ["dan session-changed"]
    forget(lab)
    # an administrator who changes it agrees to it, and those who asked are told what it is now
    changed = lab.write_now(
        sessions_api.change, booked.id, mondays(expected=250), CAROL, NOW, SITE,
        expected_sequence=1,
    )  # fmt: skip
    assert changed.state == "approved"
    assert written(lab) == ["bob session-changed", "dan session-changed"]


def test_one_day_of_a_series(lab):
    booked = book(lab, expected=30)
    one = mondays(starts="2027-01-26T14:00", rule=None, expected=300)
    changed = lab.write_now(
        sessions_api.change, booked.id, one, BOB, NOW, SITE, expected_sequence=0, at=SECOND
    )
    assert changed.state == "requested"
    assert written(lab) == ["carol session-requested", "dan session-changed"]
    forget(lab)
    lab.write_now(
        sessions_api.cancel, booked.id, DAN, NOW, SITE, expected_sequence=0, reason="Ill.",
        at=SECOND,
    )  # fmt: skip
    assert written(lab) == ["bob session-cancelled"]


def test_a_series_from_one_day_on(lab):
    booked = book(lab, expected=30)
    rest = mondays(starts="2027-01-25T08:30", rule="FREQ=WEEKLY;BYDAY=MO;COUNT=3", expected=30)
    same = lab.write_now(
        sessions_api.change_following, booked.id, rest, BOB, NOW, SITE, expected_sequence=0,
        at=SECOND,
    )  # fmt: skip
    assert (same.session, written(lab)) == (rest, [])
    lab.write_now(
        sessions_api.cancel_following, same.id, DAN, NOW, SITE, expected_sequence=0,
        at=SECOND + timedelta(days=7),
    )  # fmt: skip
    assert written(lab) == ["bob session-cancelled"]


def test_copies_that_wait_are_one_mail(lab):
    first, other, small = book(lab), book(lab, expected=200), book(lab, expected=20)
    forget(lab)
    lab.write_now(
        sessions_api.copy, "lab", [first.id, other.id, small.id], BOB, NOW, SITE,
        first=NOW.date() + timedelta(days=400),
    )  # fmt: skip
    assert written(lab) == ["carol session-requested"]
    letter = lab.write_now(mails.take, NOW)
    assert letter
    assert letter.params["more"] == 1


def test_a_change_that_fails_writes_no_mail(lab):
    booked = book(lab)
    forget(lab)
    with pytest.raises(Conflict):
        lab.write_now(
            sessions_api.change, booked.id, mondays(expected=400), BOB, NOW, SITE,
            expected_sequence=7,
        )  # fmt: skip
    assert written(lab) == []


def test_who_gets_none(lab):
    def spoil(session):
        for row in session.scalars(select(PersonRow)):
            if row.name == "dan":
                row.blocked_at = NOW
            if row.name == "carol":
                row.mail = "carol@univ-a.example\nBcc: everybody@univ-a.example"

    lab.write_now(spoil)
    booked = book(lab)
    lab.write_now(
        sessions_api.decide, booked.id, CAROL, approved=True, reason="", now=NOW, site=SITE,
        expected_sequence=0,
    )  # fmt: skip
    assert written(lab) == ["bob session-approved"]


def test_languages(lab):
    assert lab.write_now(mails.note_language, "bob", "en")
    assert not lab.write_now(mails.note_language, "nobody", "en")
    booked = book(lab)
    lab.write_now(
        sessions_api.decide, booked.id, CAROL, approved=True, reason="", now=NOW, site=SITE,
        expected_sequence=0,
    )  # fmt: skip
    rows = lab.read_now(lambda s: s.scalars(select(MailRow)).all())
    languages = {row.address.split("@")[0]: row.language for row in rows}
    assert languages == {"carol": "en", "bob": "en", "dan": ""}


# --- sending --------------------------------------------------------------------------------------


def test_a_mail_is_taken_by_one_sender(lab):
    book(lab)
    assert lab.read_now(mails.is_due, NOW)
    letter = lab.write_now(mails.take, NOW)
    assert letter
    assert (letter.address, letter.language, letter.tries) == (
        "carol@univ-a.example",
        "en",
        1,
    )
    assert lab.write_now(mails.take, NOW) is None
    assert not lab.read_now(mails.is_due, NOW)
    # one who never came back: another one after a while
    again = lab.write_now(mails.take, NOW + mails.LEASE)
    assert again
    assert (again.id, again.tries) == (letter.id, 2)
    lab.write_now(mails.sent, letter.id, NOW)
    assert lab.write_now(mails.take, NOW + timedelta(days=1)) is None


def test_what_fails_is_tried_again_or_not(lab):
    book(lab)
    letter = lab.write_now(mails.take, NOW)
    assert letter
    again = lab.write_now(mails.failed, letter.id, NOW, "451 later", for_good=False)
    assert again == NOW + MINUTE
    letter = lab.write_now(mails.take, again)
    assert letter
    assert lab.write_now(mails.failed, letter.id, again, "550 " + "x" * 999, for_good=True) is None
    row = lab.read_now(lambda s: s.scalars(select(MailRow)).one())
    assert (row.sent_at, row.next_try_at, len(row.error)) == (None, None, 500)


def test_a_server_that_is_away_is_a_try_of_each(lab):
    book(lab)
    book(lab, expected=200)
    at = NOW
    for _ in range(3):
        assert lab.write_now(mails.away, at, "refused") == []
        at += timedelta(hours=1)
    assert len(lab.write_now(mails.away, NOW + timedelta(days=1), "refused")) == 2
    assert not lab.read_now(mails.is_due, NOW + timedelta(days=9))


def test_mails_are_forgotten_after_a_month(lab):
    book(lab)
    lab.write_now(mails.clean, NOW + timedelta(days=30))
    assert len(written(lab)) == 1
    lab.write_now(mails.clean, NOW + timedelta(days=30, seconds=1))
    assert written(lab) == []
