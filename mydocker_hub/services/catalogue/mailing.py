"""Mails about sessions: their words, and the work of sending them while the service runs.

Each is plain text, in the language in which its reader reads the pages, with the address of the
session's page. What waits is in the database (`store.mails`), so that a restart loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from urllib.parse import urlsplit

from ...domain import calendar
from ...domain.calendar import SessionState
from ...domain.errors import N_, MydockerError
from ...domain.mails import Kind, one_line
from ...mailserver import Connection, MailServer, NotTaken, ServerAway
from ...store import mails
from ...store.database import Database
from ...store.mails import Letter
from ...web.i18n import LANGUAGES, Translator, translator
from ...web.service import now
from .calendar_pages import Words

log = logging.getLogger("tornado.application")

SECONDS = 5.0
"""How often it is looked whether something is to be sent."""
_CLEANED = timedelta(hours=6)
_LONGEST_TITLE = 120

_SUBJECTS = {
    Kind.REQUESTED: N_("Session to approve: %(title)s"),
    Kind.APPROVED: N_("Session approved: %(title)s"),
    Kind.REFUSED: N_("Session refused: %(title)s"),
    Kind.CHANGED: N_("Session changed: %(title)s"),
    Kind.CANCELLED: N_("Session cancelled: %(title)s"),
}
_OPENINGS = {
    Kind.REQUESTED: N_("%(who)s booked a session that waits for an administrator to agree."),
    Kind.APPROVED: N_("%(who)s approved this session."),
    Kind.REFUSED: N_("%(who)s refused this session."),
    Kind.CHANGED: N_("%(who)s changed this session."),
    Kind.CANCELLED: N_("%(who)s cancelled this session."),
}
_STATES = {
    SessionState.REQUESTED: N_("It waits for an administrator; until then it opens nothing."),
    SessionState.APPROVED: N_("It is confirmed."),
}


# --- words ----------------------------------------------------------------------------------------


def compose(letter: Letter, sender: Address, site: str, hub: str) -> EmailMessage:
    """A mail as it is sent. `site` is the address of the catalogue's pages, with a / at its end."""
    tr = translator(letter.language if letter.language in LANGUAGES else LANGUAGES[0])
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = Address(addr_spec=letter.address)
    message["Subject"] = subject(letter, tr)
    message["Date"] = format_datetime(letter.made_at)
    # The same each time that this mail is tried: who got it twice sees it once (RFC 5322 §3.6.4).
    host = urlsplit(site).hostname or "localhost"
    message["Message-ID"] = f"<{hub}.{letter.id}.{letter.made_at:%Y%m%d%H%M%S}@{host}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers of absent people
    message.set_content(text(letter, tr, site), cte="quoted-printable")
    message["Content-Language"] = tr.lang
    return message


def subject(letter: Letter, tr: Translator) -> str:
    title = one_line(tr.text(letter.params["title"]))
    return tr.gettext(_SUBJECTS[letter.kind], title=title[:_LONGEST_TITLE])


def text(letter: Letter, tr: Translator, site: str) -> str:
    """The body of a mail."""
    params = letter.params
    session = calendar.Session.model_validate(params["definition"])
    paragraphs = [tr.gettext(_OPENINGS[letter.kind], who=one_line(params["by"]))]
    if params["reason"]:
        paragraphs.append(_quoted(tr.gettext("Reason:"), params["reason"]))
    facts = [(N_("Environment: %(title)s"), tr.text(params["title"]))]
    if session.title:
        facts.append((N_("Session: %(title)s"), session.title))
    paragraphs.append(
        "\n".join(
            [tr.gettext(sentence, title=one_line(title)) for sentence, title in facts]
            + _times(session, tr, one_of_series=params["one_of_series"])
        )
    )
    if letter.kind is Kind.CHANGED:
        if params["before"]:
            before = calendar.Session.model_validate(params["before"])
            was = _times(before, tr, one_of_series=params["one_of_series"])
            if was != _times(session, tr, one_of_series=params["one_of_series"]):
                paragraphs.append("\n".join([tr.gettext("Before:"), *was]))
        state = _STATES.get(SessionState(params["state"]))
        if state:
            paragraphs.append(tr.gettext(state))
    if letter.kind is Kind.REQUESTED:
        if session.note:
            paragraphs.append(_quoted(tr.gettext("Note:"), session.note))
        if params["more"]:
            more = tr.ngettext(
                "One more session was booked with it and waits as well.",
                "%(n)s more sessions were booked with it and wait as well.",
                params["more"],
            )
            paragraphs.append(more)
        paragraphs.append("\n".join([tr.gettext("Requests that wait:"), f"{site}admin/sessions"]))
    address = f"{site}calendar/sessions/{params['session']}"
    paragraphs.append("\n".join([tr.gettext("The session’s page:"), address]))
    why = (
        N_("You get this message because you administer the service.")
        if params["administers"]
        else N_("You get this message because you work on this environment.")
    )
    automatic = tr.gettext("It was sent automatically: nobody reads answers to it.")
    paragraphs.append(f"-- \n{tr.gettext(why)}\n{automatic}")
    return "\n\n".join(paragraphs) + "\n"


def _times(session: calendar.Session, tr: Translator, *, one_of_series: bool) -> list[str]:
    """When it takes place and for how many, a line each."""
    words = Words(tr)
    first = next(calendar.occurrences(session, *calendar.bounds(session)))
    lines = [tr.gettext("When: %(slot)s", slot=words.slot(first))]
    if session.rule is not None:
        lines.append(tr.gettext("Repeated: %(rule)s", rule=words.rule(session)))
    elif one_of_series:
        lines.append(tr.gettext("This is one day of a series; the others stay as they are."))
    lines.append(tr.gettext("People expected: %(number)s", number=session.expected))
    return lines


def _quoted(heading: str, words: str) -> str:
    """What somebody wrote, as theirs: no line of it can pass for one of ours."""
    return "\n".join([heading, *(f"> {one_line(line)}" for line in words.splitlines())])


# --- sending --------------------------------------------------------------------------------------


class Sender:
    """Sends what waits, one mail after the other, until `stop`; tries again what was not taken."""

    def __init__(
        self,
        database: Database,
        server: MailServer,
        *,
        site: str,
        hub: str,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._database = database
        self._server = server
        self._site = site
        self._hub = hub
        self._clock = clock
        self._away = False
        self._cleaned: datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set; a mail that is being sent then is sent to its end."""
        while not stop.is_set():
            try:
                await self.send(stop)
            except MydockerError as error:  # the database is away
                log.warning("mails: %s", error)
            except Exception:
                log.exception("mails")
            try:
                await asyncio.wait_for(stop.wait(), SECONDS)
            except TimeoutError:
                continue

    async def send(self, stop: asyncio.Event | None = None) -> int:
        """Send all whose time has come; how many the server took."""
        await self._clean()
        if not await self._database.read(mails.is_due, self._clock()):
            return 0
        taken = 0
        try:
            async with self._server.connected() as connection:
                self._is_back()
                while stop is None or not stop.is_set():
                    letter = await self._database.write(mails.take, self._clock())
                    if letter is None:
                        break
                    taken += await self._one(connection, letter)
        except ServerAway as away:
            await self._is_away(away)
        return taken

    async def _one(self, connection: Connection, letter: Letter) -> bool:
        try:
            message = compose(letter, self._server.sender, self._site, self._hub)
            await connection.hand_over(message)
        except NotTaken as error:
            await self._failed(letter, error.words, for_good=error.for_good)
            return False
        except ServerAway as error:
            await self._failed(letter, str(error), for_good=False)
            raise
        except Exception as error:  # it cannot be written: the next ones perhaps can
            log.exception("mail %d (%s)", letter.id, letter.kind)
            await self._failed(letter, type(error).__name__, for_good=True)
            return False
        await self._database.write(mails.sent, letter.id, self._clock())
        log.info("mail %d (%s) was sent", letter.id, letter.kind)
        return True

    async def _failed(self, letter: Letter, words: str, *, for_good: bool) -> None:
        again = await self._database.write(
            mails.failed, letter.id, self._clock(), words, for_good=for_good
        )
        if again is None:
            log.warning("mail %d (%s) could not be sent: %s", letter.id, letter.kind, words)

    async def _is_away(self, away: ServerAway) -> None:
        if not self._away:
            log.warning("mail server %s: %s; mails wait", self._server.name, away)
        self._away = True
        for number in await self._database.write(mails.away, self._clock(), str(away)):
            log.warning("mail %d could not be sent: %s", number, away)

    def _is_back(self) -> None:
        if self._away:
            log.info("mail server %s answers again", self._server.name)
        self._away = False

    async def _clean(self) -> None:
        at = self._clock()
        if self._cleaned is None or at >= self._cleaned + _CLEANED:
            await self._database.write(mails.clean, at)
            self._cleaned = at
