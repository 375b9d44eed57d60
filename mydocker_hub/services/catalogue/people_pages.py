"""Pages for accounts: those of administrators, and “My account” for everybody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from jupyterhub.utils import url_escape_path
from tornado.web import RequestHandler

from ...domain.errors import N_, Conflict, Invalid, MydockerError, NotFound, Refused, error_for
from ...domain.people import Person, Role
from ...identity.roles import Origin
from ...identity.settings import SignInSettings
from ...store import accounts
from ...store.accounts import Account, Entry
from ...store.database import Session
from ...web.i18n import SITE_ZONE
from ...web.service import now
from .api import Context
from .pages import CataloguePage, nearby_pages

_REASON = 1000
_DOORS = {
    "saml": N_("federation"),
    "oidc": "OpenID Connect",
    "cas": "CAS",
    "lti13": "LTI 1.3",
    "lti11": "LTI 1.1",
}

DONE = {
    "granted": N_("The role was given."),
    "withdrawn": N_("The role was taken away."),
    "ended": N_("What the sign-ins say decides again."),
    "blocked": N_("The account is blocked. Running environments stop within a minute."),
    "unblocked": N_("The account is open again."),
    "joined": N_("The two accounts are joined: all ways to sign in lead to this one."),
    "separated": N_("The way to sign in leads to another account now."),
}
"""What a page says after an action; the key is in its address."""


@dataclass(frozen=True)
class Refusal:
    """A refused sign-in, in words."""

    entry: Entry
    error: MydockerError
    provider: str

    @classmethod
    def of(cls, entry: Entry, names: dict[str, str]) -> Refusal:
        provider = str(entry.detail.get("provider", ""))
        shown = names.get(provider, provider)
        error = error_for(str(entry.detail.get("code", "")), {"provider": shown})
        return cls(entry, error, shown)


class PeoplePage(CataloguePage):
    @property
    def sign_in(self) -> SignInSettings:
        context: Context = self.settings["context"]
        return context.sign_in

    @property
    def role_days(self) -> int:
        return self.sign_in.role_days

    def provider_names(self, platforms: dict[str, str]) -> dict[str, str]:
        """What providers are called, in this person's language."""
        titles = {
            provider.name: provider.title for provider in (*self.sign_in.openid, *self.sign_in.cas)
        }
        shown = {name: self.translator.text(title) for name, title in titles.items()}
        if self.sign_in.federation:
            shown["federation"] = self.translator.text(self.sign_in.federation.title)
        return {**shown, **platforms}

    def query(self, name: str, limit: int = 200) -> str:
        return self.get_query_argument(name, "")[:limit].replace("\x00", "")

    def page_number(self) -> int:
        wanted = self.query("page")
        return max(1, int(wanted)) if re.fullmatch("[0-9]{1,5}", wanted) else 1


class AdminPage(PeoplePage):
    """A page that only administrators see; each of its actions is theirs alone too."""

    async def prepare(self) -> None:
        self.set_policy(frames="frame-ancestors 'none'")  # whatever operators allow for others
        await super().prepare()
        if not self._finished and not self.person.is_admin:
            raise Refused("not-allowed")

    def field(self, name: str, limit: int = _REASON) -> str:
        """One line of a form, without spaces around it."""
        value = self.get_body_argument(name, "", strip=True)
        if len(value) > limit or not value.isprintable():
            raise Invalid(problems=[(name, N_("this is too long, or not one line"))])
        return value

    def to_account(self, name: str, done: str) -> None:
        self.redirect(
            f"{self.addresses.service_prefix}admin/people/{url_escape_path(name)}?done={done}",
            status=303,
        )


def _one_of(choices: type[Role] | type[Origin], value: str) -> Any:
    return choices(value) if value in list(choices) else None


# --- for administrators --------------------------------------------------------------------------


class ListPage(AdminPage):
    """`/admin/people`: search by words, role, origin of the role, state."""

    PAGE_SIZE = 50

    async def get(self) -> None:
        asked = {name: self.query(name) for name in ("q", "role", "origin", "state")}
        number = self.page_number()
        found, names = await self.database.read(
            _search,
            now(),
            text=asked["q"],
            role=_one_of(Role, asked["role"]),
            origin=_one_of(Origin, asked["origin"]),
            state=asked["state"],
            offset=(number - 1) * self.PAGE_SIZE,
            limit=self.PAGE_SIZE,
            role_days=self.role_days,
        )
        pages = max(1, -(-found.total // self.PAGE_SIZE))
        kept = {name: value for name, value in asked.items() if value}
        self.render_page(
            "people/list.html",
            found=found,
            asked=asked,
            filtered=bool(kept),
            names=self.provider_names(names),
            number=number,
            pages=pages,
            nearby=nearby_pages(number, pages),
            address=f"{self.addresses.service_prefix}admin/people?{urlencode(kept)}",
        )


class AccountPage(AdminPage):
    """`/admin/people/NAME`: one account; its forms come back here with `action`."""

    async def get(self, name: str) -> None:
        account, names, history = await self.database.read(
            _account, name, now(), role_days=self.role_days
        )
        self.render_page(
            "people/account.html",
            account=account,
            names=self.provider_names(names),
            history=history,
            done=DONE.get(self.query("done"), ""),
            doors=_DOORS,
            tomorrow=_today() + timedelta(days=1),
        )

    async def post(self, name: str) -> None:
        action = self.get_body_argument("action", "")
        run = {
            "grant": self._grant,
            "withdraw": self._withdraw,
            "end": self._end,
            "block": self._block,
            "unblock": self._unblock,
            "join": self._join,
            "separate": self._separate,
        }.get(action)
        if run is None:
            raise NotFound()
        await run(name)

    async def _grant(self, name: str) -> None:
        await self._decide(name, granted=True)
        self.to_account(name, "granted")

    async def _withdraw(self, name: str) -> None:
        await self._decide(name, granted=False)
        self.to_account(name, "withdrawn")

    async def _decide(self, name: str, *, granted: bool) -> None:
        await self.database.write(
            accounts.decide,
            name,
            self._role(),
            granted=granted,
            actor=self.person.name,
            now=now(),
            reason=self.field("reason"),
            until=_end_of(self.field("until")),
            role_days=self.role_days,
        )

    async def _end(self, name: str) -> None:
        await self.database.write(
            accounts.end_decision,
            name,
            self._role(),
            actor=self.person.name,
            now=now(),
            role_days=self.role_days,
        )
        self.to_account(name, "ended")

    async def _block(self, name: str) -> None:
        await self.database.write(
            accounts.block,
            name,
            actor=self.person.name,
            now=now(),
            reason=self.field("reason"),
            role_days=self.role_days,
        )
        self.to_account(name, "blocked")

    async def _unblock(self, name: str) -> None:
        await self.database.write(
            accounts.unblock,
            name,
            actor=self.person.name,
            now=now(),
            reason=self.field("reason"),
        )
        self.to_account(name, "unblocked")

    async def _join(self, name: str) -> None:
        other, keep = self.field("other"), self.field("keep")
        if keep not in {name, other}:
            raise Invalid(problems=[("keep", N_("choose one of the two accounts"))])
        close = other if keep == name else name
        await self.database.write(
            accounts.join, keep, close, self.person.name, now(), role_days=self.role_days
        )
        self.to_account(keep, "joined")

    async def _separate(self, name: str) -> None:
        number = self.field("identity")
        if not re.fullmatch("[1-9][0-9]{0,17}", number):
            raise NotFound()
        goal = await self.database.write(_separate_of, name, int(number), self.person.name, now())
        self.to_account(goal, "separated")

    def _role(self) -> Role:
        role = _one_of(Role, self.field("role"))
        if role is None:
            raise Invalid(problems=[("role", N_("choose a role"))])
        return role


class JoinPage(AdminPage):
    """`/admin/people/NAME/join?with=OTHER`: both accounts side by side, before they are joined."""

    async def get(self, name: str) -> None:
        other = self.query("with").strip()
        try:
            pair = await self.database.read(_pair, name, other, now(), role_days=self.role_days)
        except NotFound as error:
            raise NotFound("account-unknown", **error.params) from None
        if pair[0].name == pair[1].name:
            raise Invalid(problems=[("with", N_("choose two different accounts"))])
        for account in pair:
            if account.joined_to:
                raise Conflict("account-joined-already", name=account.name)
        names = await self.database.read(accounts.provider_names)
        self.render_page("people/join.html", pair=pair, names=self.provider_names(names))


class RefusalsPage(AdminPage):
    """`/admin/sign-ins`: who was not let in and why, by the reference that they were shown."""

    PAGE_SIZE = 50

    async def get(self) -> None:
        reference = self.query("reference", 40).strip()
        number = self.page_number()
        (entries, total), names = await self.database.read(
            _refusals, reference, (number - 1) * self.PAGE_SIZE, self.PAGE_SIZE
        )
        shown = self.provider_names(names)
        pages = max(1, -(-total // self.PAGE_SIZE))
        kept = urlencode({"reference": reference} if reference else {})
        self.render_page(
            "people/refusals.html",
            refusals=[Refusal.of(entry, shown) for entry in entries],
            total=total,
            reference=reference,
            number=number,
            pages=pages,
            nearby=nearby_pages(number, pages),
            address=f"{self.addresses.service_prefix}admin/sign-ins?{kept}",
        )


# --- for everybody -------------------------------------------------------------------------------


class MyAccountPage(PeoplePage):
    """`/account`: who I am here, why I may do what I may, and by which doors I come in."""

    async def prepare(self) -> None:
        self.set_policy(frames="frame-ancestors 'none'")
        await super().prepare()

    async def get(self) -> None:
        found = await self.database.read(_mine, self.person, now(), role_days=self.role_days)
        account, names = found
        doors = self.sign_in
        self.render_page(
            "people/mine.html",
            account=account,
            names=self.provider_names(names),
            doors=_DOORS,
            may_add=bool(doors.federation or doors.openid or doors.cas or doors.lti),
            support=doors.support,
        )


# --- one transaction each ------------------------------------------------------------------------


def _search(
    session: Session, instant: datetime, **asked: Any
) -> tuple[accounts.Lines, dict[str, str]]:
    return accounts.search(session, instant, **asked), accounts.provider_names(session)


def _account(
    session: Session, name: str, instant: datetime, *, role_days: int
) -> tuple[Account, dict[str, str], list[Entry]]:
    found = accounts.account(session, name, instant, role_days=role_days)
    return found, accounts.provider_names(session), accounts.history(session, name)


def _pair(
    session: Session, name: str, other: str, instant: datetime, *, role_days: int
) -> tuple[Account, Account]:
    return (
        accounts.account(session, name, instant, role_days=role_days),
        accounts.account(session, other, instant, role_days=role_days),
    )


def _separate_of(session: Session, name: str, identity: int, actor: str, instant: datetime) -> str:
    """Separate an identity of this very account: the page may be older than what happened since."""
    account = accounts.account(session, name, instant)
    if identity not in {one.id for one in account.identities}:
        raise NotFound()
    return accounts.separate(session, identity, actor, instant)


def _refusals(
    session: Session, reference: str, offset: int, limit: int
) -> tuple[tuple[list[Entry], int], dict[str, str]]:
    found = accounts.refusals(session, reference=reference, offset=offset, limit=limit)
    return found, accounts.provider_names(session)


def _mine(
    session: Session, person: Person, instant: datetime, *, role_days: int
) -> tuple[Account | None, dict[str, str]]:
    names = accounts.provider_names(session)
    try:
        return accounts.account(session, person.name, instant, role_days=role_days), names
    except NotFound:  # somebody of the demonstration who has done nothing yet
        return None, names


def _today() -> date:
    return now().astimezone(SITE_ZONE).date()


def _end_of(day: str) -> datetime | None:
    """The end of a day of the site's calendar, which a form gave; None for no day."""
    if not day:
        return None
    try:
        following = date.fromisoformat(day) + timedelta(days=1)
        return datetime.combine(following, time(), SITE_ZONE)
    except (ValueError, OverflowError):
        raise Invalid(problems=[("until", N_("write a day such as 2026-12-31"))]) from None


NAME = r"([^/]{1,800})"
ROUTES: list[tuple[str, type[RequestHandler]]] = [
    ("account", MyAccountPage),
    ("admin/people", ListPage),
    (f"admin/people/{NAME}", AccountPage),
    (f"admin/people/{NAME}/join", JoinPage),
    ("admin/sign-ins", RefusalsPage),
]
