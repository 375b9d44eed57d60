"""Mails about sessions, to a real mail server (aiosmtpd): their words, and that each comes once."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select

from mydocker_hub.domain import calendar
from mydocker_hub.domain.environment import Text
from mydocker_hub.domain.mails import Kind
from mydocker_hub.mailserver import MailServer
from mydocker_hub.services.catalogue import mailing
from mydocker_hub.services.catalogue.mailing import Sender, compose
from mydocker_hub.store import mails
from mydocker_hub.store.database import Database
from mydocker_hub.store.mails import Letter
from mydocker_hub.store.tables import MailRow
from tests.conftest import RunHub, free_ports
from tests.hub import RunningHub

from .conftest import Asker, definition, federation_sign_in

NOW = datetime(2027, 1, 10, 12, tzinfo=UTC)
SITE = "https://hub.example.org/services/catalogue/"
FROM = "mydocker <no-reply@univ-a.example>"
MONDAYS = {
    "starts": "2027-01-18T08:30",
    "duration": "PT4H",
    "rule": "FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630",
    "expected": 300,
    "title": "TP 1",
}


# --- a mail server --------------------------------------------------------------------------------


@dataclass
class Postbox:
    """What a mail server took; `answers` are what it says of the next ones instead."""

    messages: list[EmailMessage] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    recipients_refused: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.recipients_refused:
            return f"550 5.1.1 <{address}> is not known here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.answers:
            return self.answers.pop(0)
        self.encrypted.append(session.ssl is not None)
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.came.set()
        return "250 OK"

    def authenticate(self, server, session, envelope, mechanism, data):
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"correct horse")


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    yield from serve()


def serve(**options: Any) -> Iterator[Postbox]:
    box = Postbox(port=free_ports(1)[0])
    if options.get("auth_required"):
        options["authenticator"] = box.authenticate
    controller = Controller(box, hostname="127.0.0.1", port=box.port, **options)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


def server_of(box: Postbox, security: str = "none", **options: Any) -> MailServer:
    return MailServer.load(f"127.0.0.1:{box.port}", security=security, sender=FROM, **options)


# --- mails that wait ------------------------------------------------------------------------------


class Clock:
    """Time as a test wants it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path / 'catalogue.sqlite'}")
    found.upgrade()
    yield found
    found.close()


def params(**changes: Any) -> dict[str, Any]:
    session = calendar.Session.model_validate({**MONDAYS, **changes.pop("session_changes", {})})
    return {
        "session": 12,
        "title": Text(fr="Apprentissage", en="Learning").model_dump(mode="json"),
        "definition": session.model_dump(mode="json"),
        "before": None,
        "state": "requested",
        "reason": "",
        "by": "Bob",
        "more": 0,
        "one_of_series": False,
        "administers": False,
        **changes,
    }


def put(database: Database, name: str = "carol", kind=Kind.APPROVED, language="en", **changes):
    def add(session) -> int:
        row = MailRow(
            address=f"{name}@univ-a.example",
            language=language,
            template=kind,
            params=params(**changes),
            made_at=NOW,
            next_try_at=NOW,
        )
        session.add(row)
        session.flush()
        return row.id

    return database.write_now(add)


def letter(kind: Kind, language: str = "en", **changes: Any) -> Letter:
    return Letter(7, "carol@univ-a.example", language, kind, params(**changes), NOW, 1)


def sender(database: Database, server: MailServer, clock=None) -> Sender:
    return Sender(database, server, site=SITE, hub="h", clock=clock or Clock())


def send(database: Database, server: MailServer, clock=None) -> int:
    return asyncio.run(sender(database, server, clock).send())


def rows(database: Database) -> list[MailRow]:
    return list(database.read_now(lambda s: s.scalars(select(MailRow).order_by(MailRow.id)).all()))


# --- words ----------------------------------------------------------------------------------------


def body(message: EmailMessage) -> str:
    words = message.get_content().replace("\r\n", "\n")
    return str(words).replace("\u00a0", " ").replace("\u202f", " ")


def test_a_request_in_french(database: Database, postbox: Postbox) -> None:
    put(
        database, kind=Kind.REQUESTED, language="", by="Zoé", more=2, administers=True,
        session_changes={"note": "Il faut des GPU.\nhttps://evil.example/"},
    )  # fmt: skip
    assert send(database, server_of(postbox)) == 1
    [message] = postbox.messages
    assert message["Subject"].replace("\u00a0", " ") == "Séance à approuver : Apprentissage"
    assert (message["To"], message["From"]) == ("carol@univ-a.example", FROM)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime == NOW
    assert message["Message-ID"].endswith("@hub.example.org>")
    assert (message["Content-Language"], message.get_content_type()) == ("fr", "text/plain")
    words = body(message)
    assert "Zoé a réservé une séance qui attend l’accord d’un administrateur." in words
    assert "Environnement : Apprentissage\nSéance : TP 1\n" in words
    assert "lundi 18 janvier 2027, 08:30 – 12:30" in words
    assert "chaque semaine (lundi) jusqu’au 30 juin 2027" in words
    assert "Personnes attendues : 300" in words
    assert "\n> Il faut des GPU.\n> https://evil.example/\n" in words
    assert "2 autres séances" in words
    assert f"{SITE}admin/sessions\n" in words
    assert f"{SITE}calendar/sessions/12\n" in words


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        (Kind.APPROVED, {"state": "approved"}, ["Bob approved this session."]),
        (
            Kind.REFUSED,
            {"state": "refused", "reason": "Too many.\n-- \nclick"},
            ["Bob refused this session.\n\nReason:\n> Too many.\n> --\n> click\n"],
        ),
        (Kind.CANCELLED, {"state": "cancelled"}, ["Bob cancelled this session."]),
        (
            Kind.CHANGED,
            {"state": "requested", "before": {**MONDAYS, "expected": 20}},
            ["Before:\nWhen: ", "expected: 20", "It waits for an administrator"],
        ),
        (
            Kind.CHANGED,
            {
                "state": "approved",
                "one_of_series": True,
                "session_changes": {"rule": None, "title": None},
            },
            ["It is confirmed.", "This is one day of a series"],
        ),
    ],
)
def test_what_is_said_in_english(kind: Kind, changes: dict[str, Any], words: list[str]) -> None:
    message = compose(letter(kind, **changes), server_of(Postbox(port=25)).sender, SITE, "h")
    for one in words:
        assert one in body(message)
    assert "None" not in body(message)


@pytest.mark.parametrize("kind", list(Kind))
def test_nobody_writes_headers_of_a_mail(kind: Kind) -> None:
    hostile = "X\r\nBcc: all@univ-a.example\r\n\r\n<b>\u202e"
    message = compose(
        letter(kind, title={"fr": hostile, "en": hostile}, by=hostile, reason=hostile),
        server_of(Postbox(port=25)).sender,
        SITE,
        "h",
    )
    read = message_from_bytes(message.as_bytes(), policy=default)
    assert read["Bcc"] is None
    assert read["To"] == "carol@univ-a.example"
    assert read["Subject"].endswith(": X Bcc: all@univ-a.example <b>")
    assert not any(line.startswith("Bcc") for line in body(message).splitlines())


# --- sending --------------------------------------------------------------------------------------


def test_each_comes_once_also_after_a_restart(database: Database, postbox: Postbox) -> None:
    put(database)
    put(database, "bob")
    server = server_of(postbox)
    assert send(database, server) == 2
    assert send(database, server) == 0
    late = Clock()
    late.now = NOW + timedelta(days=2)
    assert send(database, server, late) == 0
    assert [one["To"] for one in postbox.messages] == ["carol@univ-a.example", "bob@univ-a.example"]
    assert len({one["Message-ID"] for one in postbox.messages}) == 2
    assert [(row.sent_at, row.next_try_at) for row in rows(database)] == [(NOW, None)] * 2


def test_refused_for_now(database: Database, postbox: Postbox, caplog) -> None:
    put(database)
    postbox.answers = ["451 4.3.0 try later"]
    clock, server = Clock(), server_of(postbox)
    assert send(database, server, clock) == 0
    [row] = rows(database)
    assert (row.error, row.next_try_at) == ("451 4.3.0 try later", NOW + timedelta(minutes=1))
    assert send(database, server, clock) == 0
    clock.now += timedelta(minutes=1)
    assert send(database, server, clock) == 1
    [row] = rows(database)
    assert (row.error, row.tries, row.sent_at) == ("", 2, clock.now)
    assert "could not be sent" not in caplog.text


def test_refused_for_good_stops_nobody_else(database: Database, postbox: Postbox, caplog) -> None:
    number = put(database, "gone")
    put(database, "carol")
    postbox.recipients_refused = ["gone@univ-a.example"]
    clock = Clock()
    assert send(database, server_of(postbox), clock) == 1
    clock.now += timedelta(days=1)
    assert send(database, server_of(postbox), clock) == 0
    [row, _] = rows(database)
    assert (row.sent_at, row.next_try_at, row.error) == (
        None,
        None,
        "550 5.1.1 … is not known here",
    )
    assert caplog.text.count(f"mail {number} (session-approved) could not be sent: 550 5.1.1") == 1
    assert "@" not in "".join(record.getMessage() for record in caplog.records)


def test_the_server_is_away_and_comes_back(database: Database, caplog) -> None:
    put(database)
    put(database, "bob")
    clock = Clock()
    box = Postbox(port=free_ports(1)[0])
    one = sender(database, server_of(box), clock)

    async def while_away() -> None:
        for minutes in (1, 5, 15):
            assert await one.send() == 0
            assert [row.next_try_at for row in rows(database)] == (
                [clock.now + timedelta(minutes=minutes)] * 2
            )
            clock.now += timedelta(minutes=minutes)

    asyncio.run(while_away())
    assert caplog.text.count("mails wait") == 1
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    try:
        assert asyncio.run(one.send()) == 2
    finally:
        controller.stop()
    assert len(box.messages) == 2


def test_after_a_day_it_is_given_up_and_said_once(database: Database, caplog) -> None:
    put(database)
    clock = Clock()
    one = sender(database, server_of(Postbox(port=free_ports(1)[0])), clock)

    async def for_two_days() -> None:
        for _ in range(60):
            await one.send()
            clock.now += timedelta(hours=1)

    asyncio.run(for_two_days())
    [row] = rows(database)
    assert (row.sent_at, row.next_try_at) == (None, None)
    assert row.tries == 25
    assert caplog.text.count("could not be sent") == 1


def test_what_cannot_be_written_is_given_up_alone(database: Database, postbox: Postbox) -> None:
    put(database, definition={})
    put(database, "bob")
    assert send(database, server_of(postbox)) == 1
    assert rows(database)[0].next_try_at is None


def test_the_work_goes_on_until_it_is_stopped(
    database: Database, postbox: Postbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailing, "SECONDS", 0.05)

    async def work() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(sender(database, server_of(postbox)).run(stop))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(put, database)
        assert await asyncio.to_thread(postbox.came.wait, 10)
        stop.set()
        await asyncio.wait_for(task, 5)

    asyncio.run(work())
    assert database.read_now(mails.is_due, NOW) is False


# --- with a key and a password --------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of 127.0.0.1, which nobody signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    began = datetime.now(UTC) - timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=3))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("key")
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder


def test_starttls_and_a_login(
    database: Database, certificate: Path, tmp_path: Path, caplog
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    login = tmp_path / "login"
    login.write_text("hub\ncorrect horse\n")
    put(database)
    clock = Clock()
    for box in serve(tls_context=context, require_starttls=True, auth_required=True):
        address = f"localhost:{box.port}"

        def load(**options: Any) -> MailServer:
            return MailServer.load(address, sender=FROM, **options)  # noqa: B023

        known = {"ca": certificate / "certificate.pem"}
        # nobody signed its key: no password, no mail
        assert send(database, load(login=login), clock) == 0
        assert box.logins == []
        clock.now += timedelta(minutes=1)
        login.write_text("hub\nTOPSECRET\n")
        assert send(database, load(login=login, **known), clock) == 0  # waits for another password
        clock.now += timedelta(minutes=5)
        login.write_text("hub\ncorrect horse\n")
        server = load(login=login, **known)
        assert "horse" not in repr(server)
        assert send(database, server, clock) == 1
        assert (box.encrypted, box.logins[-1]) == ([True], ("hub", "correct horse"))
        assert "TOPSECRET" not in caplog.text


def test_a_server_without_starttls_gets_nothing(database: Database, postbox: Postbox) -> None:
    put(database)
    assert send(database, server_of(postbox, "starttls")) == 0
    assert postbox.messages == []
    assert "STARTTLS" in rows(database)[0].error


# --- a hub ----------------------------------------------------------------------------------------


@pytest.fixture
def mailing_hub(run_hub: RunHub, postbox) -> Iterator[RunningHub]:
    install = (
        f"session_people_limit=100, smtp='127.0.0.1:{postbox.port}', smtp_security='none', "
        f"mail_from={FROM!r}"
    )
    with run_hub(install=install) as running:
        yield running


@pytest.mark.hub
@pytest.mark.engine
def test_a_large_session_from_the_request_to_the_answer(
    mailing_hub: RunningHub, postbox: Postbox
) -> None:
    hub = mailing_hub
    the_hub = Asker(hub.url, (hub.state / "catalogue_secret").read_text())
    with hub.signed_in("bob") as bob, hub.signed_in("carol") as carol:
        as_bob, as_carol = (Asker(hub.url, one.token()) for one in (bob, carol))
        made = definition(title="Learning")
        assert as_bob.post("/environments", made).status_code == 201
        assert as_carol.post("/environments", definition()).status_code == 201
        for name, more in (("bob", {"role": "teacher"}), ("carol", {"admin": True})):
            sent = federation_sign_in(claims={"mail": f"{name}@univ-a.example"}, **more)
            assert the_hub.post("/sign-ins", {**sent, "link_to": name}).status_code == 200
        carol.dashboard("en")
        bob.dashboard("fr")
        booked = as_bob.post(f"/environments/{made['slug']}/sessions", MONDAYS).json()
        assert booked["state"] == "requested"
        assert postbox.came.wait(20), hub.log()[-3000:]
        postbox.came.clear()
        [asked] = postbox.messages
        assert (asked["To"], asked["Subject"]) == (
            "carol@univ-a.example",
            "Session to approve: Learning",
        )
        page = f"/services/catalogue/calendar/sessions/{booked['id']}"
        assert f"{hub.url}{page}\n" in body(asked)
        assert "TP 1" in carol.get(page).text
        # She answers on the page that the mail names.
        waiting = "/services/catalogue/admin/sessions"
        assert f"{hub.url}{waiting}\n" in body(asked)
        answer = carol.post_form(
            waiting, waiting, session=str(booked["id"]), version="1", decision="approve"
        )
        assert answer.status_code == 200, answer.text
        assert postbox.came.wait(20), hub.log()[-3000:]
        told = postbox.messages[1]
        assert (told["To"], told["Content-Language"]) == ("bob@univ-a.example", "fr")
        assert "a approuvé cette séance" in body(told)
        assert len(postbox.messages) == 2
        assert "@univ-a.example" not in hub.log()
