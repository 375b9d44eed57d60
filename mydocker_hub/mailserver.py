"""The mail server that operators named: who may use it and how, and handing it a message (SMTP)."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path

import aiosmtplib

from .domain.mails import is_address, one_line

CONNECT_SECONDS = 20.0
"""For each step of a conversation with the mail server."""
SECONDS = 60.0
"""For the whole of one message."""
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_HOST = re.compile(r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:]+\])(?::(?P<port>[0-9]{1,5}))?")
_LONGEST_WORDS = 300


class NotTaken(Exception):
    """The mail server did not take a message: why, and whether it never will."""

    def __init__(self, words: str, *, for_good: bool) -> None:
        super().__init__(words)
        self.words = words
        self.for_good = for_good


class ServerAway(Exception):
    """No mail can be handed over now, whichever it is: why."""


@dataclass(frozen=True)
class MailServer:
    """Where mail goes, and from whom. `login` is a name and a password, `ca` who signed its key."""

    host: str
    port: int
    security: str  # starttls, tls or none
    sender: Address
    login: tuple[str, str] | None = field(default=None, repr=False)
    ca: Path | None = None

    @classmethod
    def load(
        cls,
        address: str,
        *,
        security: str = "starttls",
        sender: str,
        login: Path | None = None,
        ca: Path | None = None,
    ) -> MailServer:
        """What operators wrote (`hubconfig.install`). Raises ValueError saying what to write."""
        if security not in _PORTS:
            raise ValueError(f"smtp_security: write one of {', '.join(_PORTS)}")
        match = _HOST.fullmatch(address)
        port = int((match and match["port"]) or _PORTS[security])
        if not match or not 0 < port < 65536:
            raise ValueError("smtp is a name and a port, such as smtp.example.org:587")
        name, mail = parseaddr(sender)
        if not is_address(mail) or one_line(sender) != sender:
            raise ValueError("mail_from is an address, such as mydocker <no-reply@example.org>")
        if login is not None and security == "none":
            raise ValueError(
                "smtp_login: the password would go over the network for all to read: "
                "set smtp_security to starttls or tls"
            )
        if ca is not None:
            if security == "none":
                raise ValueError("smtp_ca is of no use where smtp_security is none")
            try:
                ssl.create_default_context(cafile=str(ca))
            except OSError as error:  # ssl.SSLError is one
                raise ValueError(f"smtp_ca: {ca}: {error.strerror or error.args[-1]}") from None
        return cls(
            host=match["host"].strip("[]"),
            port=port,
            security=security,
            sender=Address(name, addr_spec=mail),
            login=_login(login) if login is not None else None,
            ca=ca,
        )

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        """A conversation with the server, signed in. Raises `ServerAway`."""
        user, password = self.login or (None, None)
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            use_tls=self.security == "tls",
            start_tls=self.security == "starttls",
            username=user,
            password=password,
            timeout=CONNECT_SECONDS,
            tls_context=None
            if self.security == "none"
            else ssl.create_default_context(cafile=str(self.ca) if self.ca else None),
        )
        try:
            async with asyncio.timeout(SECONDS):
                await client.connect()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise ServerAway(_words(error)) from None
        try:
            yield Connection(client)
        finally:
            with suppress(aiosmtplib.SMTPException, OSError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    await client.quit()
            client.close()


@dataclass(frozen=True)
class Connection:
    client: aiosmtplib.SMTP

    async def hand_over(self, message: EmailMessage) -> None:
        """Give the server a message. Raises `NotTaken`, or `ServerAway` for what is not of it."""
        try:
            async with asyncio.timeout(SECONDS):
                await self.client.send_message(message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            first = error.recipients[0]
            raise NotTaken(_words(first), for_good=first.code >= 500) from None
        except aiosmtplib.SMTPDataError as error:
            raise NotTaken(_words(error), for_good=error.code >= 500) from None
        # Who may send is a matter of the configuration, not of this message: it waits for that.
        except (aiosmtplib.SMTPException, OSError) as error:
            raise ServerAway(_words(error)) from None


def _login(path: Path) -> tuple[str, str]:
    how = "write the name in its first line, the password in the second"
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise ValueError(f"smtp_login: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"smtp_login: {path} is no text: {how}") from None
    if len(lines) != 2 or not all(lines):
        raise ValueError(f"smtp_login: {path}: {how}")
    return lines[0], lines[1]


def _words(error: Exception) -> str:
    """What went wrong, for operators: no mail address, one line."""
    code = f"{error.code} " if isinstance(error, aiosmtplib.SMTPResponseException) else ""
    message = getattr(error, "message", "") or str(error)
    if isinstance(error, TimeoutError):
        message = message or "it took too long"
    text = re.sub(r"\S+@\S+", "…", one_line(code + str(message)))
    return (text or type(error).__name__)[:_LONGEST_WORDS]
