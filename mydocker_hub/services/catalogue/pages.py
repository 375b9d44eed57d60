"""The catalogue's pages: the dashboard, the public catalogue, an environment's sheet and doors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from jupyterhub.utils import url_escape_path
from tornado.web import RequestHandler

from ...domain import culling, names
from ...domain.access import Decision, is_shown, may_copy, may_edit, may_see, may_start, works_on
from ...domain.calendar import ALWAYS_OPEN, Opening, Site
from ...domain.culling import Notice, Policy, SiteLimits
from ...domain.environment import LANGUAGES, Environment, Text
from ...domain.errors import MydockerError, NotFound, error_for
from ...domain.launch import Entrance, entrances, starts_alike
from ...domain.people import Person
from ...hubapi import HubApi, HubServers, Server
from ...store import activity, editing, mails, reading, sessions, trials
from ...store.database import Database, Session
from ...store.reading import Found, LastLaunch
from ...store.trials import Trial
from ...web.i18n import translator
from ...web.service import PageHandler, now
from . import api

_NO_LIMITS = SiteLimits()


class State(StrEnum):
    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Card:
    """An environment on a person's dashboard, with their server of it."""

    found: Found
    state: State
    start: Decision
    editable: bool
    server: Server | None = None
    launch: LastLaunch | None = None
    trial: Trial | None = None
    copyable: bool = False
    unbound: bool = False  # by sessions, as who works on the environment is
    shown: bool = True  # on the dashboard; what runs is there whatever the calendar says
    limits: SiteLimits = field(default_factory=SiteLimits)

    @property
    def environment(self) -> Environment:
        return self.found.environment

    @property
    def started_with(self) -> Environment:
        """The environment as the running server knows it: as it was when it started."""
        if self.state is State.RUNNING and self.launch is not None:
            return self.launch.environment
        return self.environment

    @property
    def since(self) -> datetime | None:
        """Since when the server runs."""
        return self.server.started if self.server and self.state is State.RUNNING else None

    @property
    def policy(self) -> Policy:
        """What ends the running server, as far as a page has to know."""
        opening, told = self.found.standing.opening, self._told
        if told is not None and told.code in {"exam-over", "session-over"}:
            opening = Opening(True, ends=told.stops_at, exam=told.code == "exam-over")
        elif self.unbound or not opening.allowed:
            opening = ALWAYS_OPEN
        return culling.policy(self.started_with.lifetime, self.limits, opening=opening)

    @property
    def known(self) -> culling.Server | None:
        """The running server and what its person said of it."""
        if self.server is None or self.state is not State.RUNNING:
            return None
        said = self.launch.server if self.launch else culling.Server(started=None)
        return replace(said, started=self.server.started, last_activity=self.server.last_activity)

    @property
    def _told(self) -> Notice | None:
        return self.launch.server.notice if self.launch else None

    @property
    def announced(self) -> Notice | None:
        """The stop that the person is warned of, unless what they did since put it off."""
        known, told = self.known, self._told
        if known is None or told is None:
            return None
        # How often people are asked is not known here; the culler takes the question back.
        return told if told.code == "unanswered" else culling.announced(self.policy, known)

    @property
    def stops_at(self) -> datetime | None:
        """When the server will be stopped if its person does nothing more."""
        if self.known is None:
            return None
        if self.announced is not None:
            return self.announced.stops_at
        end = culling.first_end(self.policy, self.known)
        return end.at if end else None

    @property
    def ends_firmly(self) -> bool:
        """Whether it stops then, whatever its person does."""
        end = culling.first_end(self.policy, self.known) if self.known else None
        return end is not None and (end.firm or end.code == "time-over")

    @property
    def extendable(self) -> bool:
        """Whether one click has the server go on for longer than was announced."""
        if self.announced is None or self.known is None:
            return False
        if self.announced.code == "unanswered":
            return True
        return culling.extended(self.policy, self.known, now()) is not None

    @property
    def protected_until(self) -> datetime | None:
        """Until when it goes on though nobody is there, because its person said so."""
        until = self.known.protected_until if self.known else None
        return until if until is not None and until > now() else None

    @property
    def protectable(self) -> list[timedelta]:
        """For how long its person may say that."""
        if self.known is None:
            return []
        moment = now()
        latest = culling.protectable_until(self.policy, self.known, moment)
        return culling.protection_choices(latest - moment) if latest else []

    @property
    def newer(self) -> bool:
        """Whether the running server would be another one if it started now."""
        return (
            self.state is State.RUNNING
            and self.launch is not None
            and self.start.allowed
            and (
                self.launch.secrets_changed
                or (
                    self.launch.version < self.found.version
                    and not starts_alike(self.launch.environment, self.environment)
                )
            )
        )

    @property
    def gone(self) -> bool:
        """Whether the environment is not there any more for the person whose server it is."""
        return self.start.code == "environment-unknown"

    @property
    def refusal(self) -> MydockerError | None:
        """Why it cannot be started."""
        if self.start.allowed:
            return None
        return self.start.refusal(self.environment)

    @property
    def ending(self) -> MydockerError | None:
        """Why the last server ended, where that was not its person's wish."""
        if self.state is not State.STOPPED or self.launch is None:
            return None
        if self.launch.end_code in {"", "start-cancelled"}:
            return None
        return error_for(self.launch.end_code, self.launch.end_params)

    @property
    def notice(self) -> MydockerError | None:
        """What the person should know of the running server; `launch.notice_at` says since when."""
        if self.state is not State.RUNNING or self.launch is None or not self.launch.notice_code:
            return None
        memory = self.started_with.resources.memory_bytes
        return error_for(self.launch.notice_code, {"memory": memory})

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        """The interfaces of the running server, or those that a start would give."""
        return entrances(self.started_with)

    @property
    def only_address(self) -> str:
        """Where the running server's interface is, if it is known to have one only; else ""."""
        if self.launch is None or len(self.entrances) > 1:
            return ""
        return self.address(self.entrances[0])

    def address(self, entrance: Entrance) -> str:
        """Where an interface of the running server is."""
        assert self.server is not None  # noqa: S101 - templates ask for running servers only
        return self.server.url + entrance.path


@dataclass(frozen=True)
class TrialCard(Card):
    """A trial: its environment bears the server's name as its slug, so that pages lead there."""

    @property
    def newer(self) -> bool:
        return self.state is State.RUNNING and self.trial is not None and self.trial.newer

    @property
    def sheet(self) -> str:
        """The page of what is tried, below the service's prefix."""
        assert self.trial is not None  # noqa: S101 - `trial_card` gives one
        if self.trial.build_number is None:
            return f"workshop/environments/{self.trial.slug}"
        return f"workshop/images/{self.trial.slug}/builds/{self.trial.build_number}"


def tried(trial: Trial) -> Environment:
    """A trial's environment as pages show it: named so, and with the server's name as its slug."""
    title = {
        language: translator(language).gettext(
            "Trial: %(title)s", title=trial.environment.title.in_(language)
        )
        for language in LANGUAGES
    }
    return trial.environment.model_copy(
        update={"slug": trial.server, "title": Text.model_validate(title)}
    )


def trial_card(trial: Trial, servers: Mapping[str, Server]) -> TrialCard:
    """The card of a trial; whether its person still may start it is asked at the start."""
    server = servers.get(trial.server)
    found = Found(id=0, environment=tried(trial), version=1, updated_at=trial.made_at)
    return TrialCard(
        found=found,
        state=_state(server),
        start=Decision(True),
        editable=False,
        server=server,
        trial=trial,
    )


def is_active(server: Server | None) -> bool:
    """Whether a server runs, starts or stops."""
    return _state(server) is not State.STOPPED


def card(
    found: Found,
    person: Person,
    servers: Mapping[str, Server],
    launch: LastLaunch | None = None,
    limits: SiteLimits = _NO_LIMITS,
) -> Card:
    """The card of an environment; `servers` are all that the person has at the hub."""
    server = servers.get(names.server_name(found.environment.slug))
    return Card(
        found=found,
        state=_state(server),
        start=may_start(person, found.environment, found.standing),
        editable=may_edit(person, found.environment, found.standing).allowed,
        copyable=may_copy(person, found.environment, found.standing).allowed,
        unbound=works_on(person, found.environment, found.standing),
        shown=is_shown(person, found.environment, found.standing),
        server=server,
        launch=launch,
        limits=limits,
    )


def _state(server: Server | None) -> State:
    if server is None:
        return State.STOPPED
    if server.pending == "stop":
        return State.STOPPING
    if server.ready:
        return State.RUNNING
    return State.STARTING if server.pending else State.STOPPED


def _dashboard(
    session: Session, person: Person, site: Site
) -> tuple[list[Found], dict[int, LastLaunch], list[Trial]]:
    found = sessions.opened(session, reading.used_by(session, person), now(), site)
    launches = reading.last_launches(session, person, [item.id for item in found])
    return found, launches, trials.of_person(session, person) if person.may_create else []


def _to_start(session: Session, person: Person, slug: str, site: Site) -> Found:
    return sessions.opened_one(session, api.visible(session, slug, person), now(), site)


def _sheet(
    session: Session, person: Person, slug: str, site: Site
) -> tuple[Found, LastLaunch | None]:
    found = _to_start(session, person, slug, site)
    return found, reading.last_launches(session, person, [found.id]).get(found.id)


def _public_catalogue(
    session: Session, person: Person, site: Site, *, text: str, tag: str, offset: int, limit: int
) -> tuple[reading.Page, list[tuple[str, int]]]:
    page = reading.search(
        session, person, text=text, tag=tag, open_only=True, offset=offset, limit=limit
    )
    items = sessions.opened(session, page.items, now(), site)
    return replace(page, items=items), reading.tags(session)


def nearby_pages(number: int, pages: int) -> list[int | None]:
    """Which of 1 to `pages` to offer on page `number`; None stands for those left out."""
    shown = sorted({1, pages} | {one for one in range(number - 2, number + 3) if 1 <= one <= pages})
    found: list[int | None] = []
    for before, one in zip([0, *shown], shown, strict=False):
        if one == before + 2:
            found.append(before + 1)  # as short as what would stand for it
        elif one > before + 2:
            found.append(None)
        found.append(one)
    return found


def _to_open(
    session: Session, person: Person, slug: str, state: State, site: Site
) -> tuple[Found, LastLaunch | None]:
    """What a person may see, and what their server runs, whatever became of it meanwhile."""
    runs = state is State.RUNNING  # anybody may ask the hub for any start, in vain
    try:
        found = reading.find(session, slug, person)
    except NotFound:
        if not runs:
            raise
        return reading.deleted(session, slug), None
    found = sessions.opened_one(session, found, now(), site)
    launch = reading.last_launches(session, person, [found.id]).get(found.id)
    if not runs or launch is None:
        may_see(person, found.environment, found.standing).or_raise(found.environment)
    return found, launch


class CataloguePage(PageHandler):
    async def prepare(self) -> None:
        await super().prepare()
        context: api.Context = self.settings["context"]
        if context.sessions.mails and self._is_person and self.person.may_create:
            await self._note_language(context.languages)

    async def _note_language(self, known: dict[str, str]) -> None:
        """Mails are written in the language of the pages that somebody sees."""
        name, language = self.person.name, self.translator.lang
        if known.get(name) == language:
            return
        if await self.database.write(mails.note_language, name, language):
            known[name] = language

    @property
    def database(self) -> Database:
        database: Database = self.settings["context"].database
        return database

    @property
    def site(self) -> Site:
        """What sessions decide where an environment does not say."""
        context: api.Context = self.settings["context"]
        return context.sessions

    @property
    def limits(self) -> SiteLimits:
        """What no environment goes beyond."""
        context: api.Context = self.settings["context"]
        return context.limits

    @property
    def hub_api(self) -> HubApi:
        return HubApi(self.settings["hub_api_url"], self.own_token)

    @property
    def hub_servers(self) -> HubServers:
        """Everybody's servers of an environment: ask only for who may edit it."""
        context: api.Context = self.settings["context"]
        return context.hub_servers

    async def cards(self) -> tuple[list[Card], list[TrialCard]]:
        """What is on the dashboard: what the person has used, and what they are trying."""
        person = self.person
        found, launches, tried_ = await self.database.read(_dashboard, person, self.site)
        servers = await self.hub_api.servers(person.name)
        cards = [card(item, person, servers, launches.get(item.id), self.limits) for item in found]
        return (
            [one for one in cards if one.shown or one.state is not State.STOPPED],
            [trial_card(one, servers) for one in tried_ if is_active(servers.get(one.server))],
        )

    async def start(self, server: str, running: Server | None, *, title: str, target: str) -> None:
        """Start a server of the person, and show how it comes up; then they go to `target`."""
        person = self.person
        if running is not None and running.pending == "stop":
            self.redirect(self.addresses.service_prefix, status=303)  # its card says so
            return
        if running is not None and running.ready:
            self.redirect(f"{self.addresses.service_prefix}open/{server}", status=303)
            return
        if running is None or running.pending != "spawn":
            await self.hub_api.start_server(person.name, server, title=title, environment=server)
        home = f"{url_escape_path(person.name)}/{server}"
        self.redirect(
            f"{self.addresses.hub}spawn-pending/{home}?next={quote(target, safe='')}", status=303
        )


class DashboardPage(CataloguePage):
    """`/`: what the person has used, the last used first."""

    async def get(self) -> None:
        cards, trial_cards = await self.cards()
        if not cards and not await self.database.read(reading.knows, self.person):
            # Colleagues find who has been here, whatever door they came by.
            await self.database.write(editing.person_row, self.person, now())
        self.render_page("catalogue/dashboard.html", cards=cards, trials=trial_cards)


class StatesPage(CataloguePage):
    """`/states`: the states of the dashboard's cards, which the open page asks for."""

    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        cards, trial_cards = await self.cards()
        self.write({card.environment.slug: card.state for card in (*cards, *trial_cards)})

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_status(status_code)
        self.finish({})


class EnvironmentsPage(CataloguePage):
    """`/environments`: the public catalogue, with search by words and by tag."""

    PAGE_SIZE = 30

    async def get(self) -> None:
        text = self.get_query_argument("q", "")[:200].replace("\x00", "")
        tag = self.get_query_argument("tag", "")[:30].replace("\x00", "")
        wanted = self.get_query_argument("page", "1")
        number = max(1, int(wanted)) if re.fullmatch("[0-9]{1,5}", wanted) else 1
        person = self.person
        page, tags = await self.database.read(
            _public_catalogue,
            person,
            self.site,
            text=text,
            tag=tag,
            offset=(number - 1) * self.PAGE_SIZE,
            limit=self.PAGE_SIZE,
        )
        pages = max(1, -(-page.total // self.PAGE_SIZE))
        servers = await self.hub_api.servers(person.name)
        self.render_page(
            "catalogue/environments.html",
            cards=[card(found, person, servers) for found in page.items],
            tags=tags,
            total=page.total,
            text=text,
            tag=tag,
            number=number,
            pages=pages,
            nearby=nearby_pages(number, pages),
        )


class EnvironmentPage(CataloguePage):
    """`/environments/SLUG`: the sheet."""

    async def get(self, slug: str) -> None:
        person = self.person
        found, launch = await self.database.read(_sheet, person, slug, self.site)
        servers = await self.hub_api.servers(person.name)
        self.render_page(
            "catalogue/environment.html", card=card(found, person, servers, launch, self.limits)
        )


class OpenPage(CataloguePage):
    """`/open/SLUG`: the interfaces of the person's server; straight in, if there is one only."""

    async def get(self, slug: str) -> None:
        person = self.person
        servers = await self.hub_api.servers(person.name)
        if names.is_trial(slug):
            trial = await self.database.read(trials.find, person, slug)
            self._show(trial_card(trial, servers))
            return
        state = _state(servers.get(names.server_name(slug)))
        found, launch = await self.database.read(_to_open, person, slug, state, self.site)
        opened = card(found, person, servers, launch, self.limits)
        if not found.version:  # deleted: whoever could start it then, nobody can now
            opened = replace(opened, start=Decision(False, "environment-unknown"))
        self._show(opened)

    def _show(self, opened: Card) -> None:
        if opened.state is State.RUNNING and len(opened.entrances) == 1:
            self.redirect(opened.address(opened.entrances[0]))
            return
        self.render_page("catalogue/open.html", card=opened)


class Action(CataloguePage):
    """What a form's POST does, for an environment."""

    async def get(self, slug: str) -> None:
        # Somebody signed in again, or went back: what they wanted is on the dashboard.
        self.redirect(self.addresses.service_prefix, status=303)


class StartAction(Action):
    """`POST /start/SLUG`: start the person's server and show how it comes up."""

    async def post(self, slug: str) -> None:
        person = self.person
        if names.is_trial(slug):  # again; whether they still may is asked at the launch
            environment = tried(await self.database.read(trials.find, person, slug))
        else:
            found = await self.database.read(_to_start, person, slug, self.site)
            environment = found.environment
            may_start(person, environment, found.standing).or_raise(environment)
        server = names.server_name(slug)
        servers = await self.hub_api.servers(person.name)
        await self.start(
            server,
            servers.get(server),
            title=environment.title.in_(self.translator.lang),
            target=api.landing(self.addresses, person, environment),
        )


class StopAction(Action):
    """`POST /stop/SLUG`: stop the person's server; also cancels a start."""

    async def post(self, slug: str) -> None:
        with suppress(NotFound):  # it is stopped: that is what was asked
            await self.hub_api.stop_server(self.person.name, names.server_name(slug))
        self.redirect(self.addresses.service_prefix, status=303)


class LeaveAction(Action):
    """`POST /leave/SLUG`: take a card off the dashboard; a running server is stopped first."""

    async def post(self, slug: str) -> None:
        person = self.person
        servers = await self.hub_api.servers(person.name)
        if names.server_name(slug) in servers:
            await self.hub_api.stop_server(person.name, names.server_name(slug))
        with suppress(NotFound):  # left in another tab
            await self.database.write(activity.leave, slug, person, now())
        self.redirect(self.addresses.service_prefix, status=303)


class NotFoundPage(PageHandler):
    async def prepare(self) -> None:
        await super().prepare()
        if not self._finished:
            raise NotFound()


class OpenApi(RequestHandler):
    """`/api/openapi.json`: the document of the REST API; it holds no secret."""

    async def get(self) -> None:
        self.write(self.settings["openapi"])


SLUG = r"([a-z0-9-]{1,30})"
ROUTES: list[tuple[str, type[RequestHandler]]] = [
    ("", DashboardPage),
    ("states", StatesPage),
    ("environments", EnvironmentsPage),
    (f"environments/{SLUG}", EnvironmentPage),
    (f"open/{SLUG}", OpenPage),
    (f"start/{SLUG}", StartAction),
    (f"stop/{SLUG}", StopAction),
    (f"leave/{SLUG}", LeaveAction),
]
