"""The form in which teachers make and change an environment, and its live preview.

It works without JavaScript: every button sends the whole form, and what is typed comes back with
it. When somebody else saved meanwhile, both people's work is put together (`domain.differences`)
and shown before anything is saved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from markupsafe import Markup
from pydantic import ValidationError
from tornado.web import RequestHandler

from ...domain.differences import Change, Conflict3, differences, merge, resolve
from ...domain.environment import ComputeType, Environment
from ...domain.errors import Conflict, Invalid, NotFound
from ...domain.people import Person
from ...seal import Seal
from ...store import images, reading, workshop
from ...store.database import Session
from ...store.reading import Found
from ...store.workshop import SecretName, TaughtCourse, Version
from ...web.help import field_label, field_value
from ...web.service import now
from . import api
from .workshop_fields import (
    ROWS,
    STATUSES,
    Fault,
    Proposal,
    Read,
    Secrets,
    Typed,
    as_previewed,
    blank,
    faults_at,
    faults_of,
    in_order,
    propose,
    proposed_slug,
    read,
    read_secrets,
    section_of,
    typed_of,
)
from .workshop_pages import Rights, WorkshopPage

_MESSAGE_MAX = 2000
_NAMES_TRIED = 20


@dataclass(frozen=True)
class Material:
    """What the form offers to choose from, for one person and one environment."""

    bases: list[Proposal]
    built: list[Proposal]
    compute_types: list[ComputeType]
    courses: list[TaughtCourse]
    institutions: list[str]
    secrets: list[SecretName] = field(default_factory=list)
    found: Found | None = None
    asked: bool = False  # for the public catalogue, without an answer yet

    @property
    def edited(self) -> Found:
        """The environment that is there already; for the pages of one."""
        assert self.found is not None  # noqa: S101 - their addresses have a slug
        return self.found

    def proposal(self, reference: str) -> Proposal | None:
        """What an image proposes, if it is known."""
        return next((one for one in (*self.built, *self.bases) if one.reference == reference), None)


@dataclass(frozen=True)
class Meeting:
    """What somebody else saved while this form was open, beside what is in it."""

    by: list[Version]
    theirs: list[Change]
    conflicts: list[Conflict3]


def _material(session: Session, person: Person, context: api.Context, slug: str | None) -> Material:
    """Raises `Refused` or `NotFound` as `api.editable` does."""
    found = api.editable(session, slug, person) if slug else None
    bases = context.base_images
    return Material(
        bases=[Proposal.of_base(one) for one in bases],
        built=[Proposal.of_built(one, bases) for one in images.built(session, person)],
        compute_types=reading.compute_types(session),
        courses=workshop.courses(session, person),
        institutions=workshop.institutions(session, person),
        secrets=workshop.secrets(session, found.id) if found else [],
        found=found,
        asked=bool(found) and _asked(session, person, slug or ""),
    )


def _asked(session: Session, person: Person, slug: str) -> bool:
    return any(
        one.slug == slug and one.kind == "publish" and one.answered_at is None
        for one in workshop.sent(session, person, now())
    )


def _base(session: Session, person: Person, slug: str, version: int) -> dict[str, Any]:
    """The definition that a form was made from."""
    found = api.editable(session, slug, person)
    try:
        return _dump(workshop.version(session, found.id, version))
    except NotFound:  # made up, or of a time before this release
        return _dump(found.environment)


def _dump(environment: Environment) -> dict[str, Any]:
    return environment.model_dump(mode="json", by_alias=True)


@dataclass(frozen=True)
class Wish:
    """What one press on Save asks for."""

    environment: Environment
    secrets: Secrets
    ask: str | None  # a message to the administrators, to be in the public catalogue
    version: int | None  # None: a new environment


def _save(session: Session, person: Person, wish: Wish, seal: Seal, at: datetime) -> Found:
    """All of it, or nothing. Raises `Conflict`, `Invalid`, `Refused` as the API does."""
    slug = wish.environment.slug
    if wish.version is None:
        found = api.create(session, person, wish.environment, at)
    else:
        found = api.replace(session, person, wish.environment, wish.version, at)
    known = {one.name for one in workshop.secrets(session, found.id)}
    for name in wish.secrets.delete:
        if name in known and name not in wish.secrets.put:
            workshop.delete_secret(session, slug, person, name, at)
    for name, value in wish.secrets.put.items():
        workshop.put_secret(session, slug, person, name, value, seal, at)
    if wish.ask is not None and not found.environment.public:
        workshop.ask(session, slug, person, "publish", wish.ask, at)
    return found


def _meeting(
    session: Session, person: Person, slug: str, version: int, mine: Mapping[str, Any]
) -> tuple[Found, dict[str, Any], Meeting]:
    """Who saved what since `version`, and both people's work in one definition."""
    found = api.editable(session, slug, person)
    base, theirs = _base(session, person, slug, version), _dump(found.environment)
    done = merge(base, theirs, mine)
    by = [one for one in workshop.history(session, found.id) if one.number > version]
    return found, done.merged, Meeting(by, differences(base, theirs), done.conflicts)


class FormPage(WorkshopPage):
    """The form, new or of an environment."""

    async def material(self, slug: str | None) -> Material:
        return await self.database.read(_material, self.person, self.context, slug)

    def typed(self) -> Typed:
        """What the browser sent."""
        sent = {
            name: [value.decode("utf-8", "replace") for value in values]
            for name, values in self.request.body_arguments.items()
        }
        return Typed.sent(sent)

    def show(
        self,
        typed: Typed,
        material: Material,
        *,
        faults: list[Fault] | None = None,
        meeting: Meeting | None = None,
        previewed: bool = False,
        focus: str = "",
    ) -> None:
        """The form; after a fault or a meeting with what is wrong, or differs, on its top."""
        if faults:
            self.set_status(422)
        elif meeting:
            self.set_status(409)
        found = material.found
        for part in ROWS[:1]:
            if not typed.rows[part]:
                typed.add_row(part)
        self.render_page(
            "workshop/form.html",
            typed=typed,
            material=material,
            found=found,
            faults=in_order(faults or []),
            problems=_by_field(faults or []),
            meeting=meeting,
            conflicts={one.path for one in meeting.conflicts} if meeting else set(),
            shown=self.previewed(typed, found),
            previewed=previewed,
            focus=focus,
            statuses={k: v for k, v in STATUSES.items() if k != "archived" or _is_archived(found)},
            section_of=section_of,
            faulty={section_of(one.field) for one in faults or []},
            sheet_faulty=any(one.field.startswith("sheet.links.") for one in faults or []),
            looks_at_images=self.context.builder is not None,
            rights=Rights.of(self.person, found) if found else None,
            unlinked=unlinked,
            field_label=partial(field_label, translator=self.translator),
            field_value=partial(field_value, translator=self.translator),
        )

    def previewed(self, typed: Typed, found: Found | None) -> Environment:
        base = _dump(found.environment) if found else None
        done = read(typed, base, self.translator)
        return as_previewed(done.definition, self.translator.gettext("Title"))

    def acted(self, typed: Typed, material: Material) -> str | None:
        """Do what a button other than Save asks for; where the focus goes, or None."""
        before, chosen = (
            material.proposal(typed.get("proposed")),
            material.proposal(typed.image),
        )
        if typed.get("proposed") != typed.image:
            propose(typed, before, chosen)
            typed.values["proposed"] = typed.image
        action = self.get_body_argument("do", "save")
        match = re.fullmatch(r"(add|remove):([a-z.]+)(?::([0-9]{1,4}))?", action)
        if match and match[2] in ROWS:
            if match[1] == "add":
                return f"{match[2]}.{typed.add_row(match[2])}"
            typed.remove_row(match[2], int(match[3] or 0))
            return f"add:{match[2]}"
        return "preview" if action == "preview" else None

    def wish(
        self, typed: Typed, base: dict[str, Any] | None, version: int | None
    ) -> tuple[Wish | None, Read, list[Fault]]:
        """What is to be saved, or what is wrong with it."""
        done = read(typed, base, self.translator)
        if self.person.is_admin:
            done.definition["public"] = bool(typed.line("public"))
        secrets, wrong = read_secrets(typed, self.translator)
        faults = [*done.faults, *wrong]
        message = typed.get("propose.message").strip()
        if len(message) > _MESSAGE_MAX:
            text = self.translator.gettext(
                "write at most %(number)s characters", number=_MESSAGE_MAX
            )
            faults.append(Fault("propose.message", text))
        environment = None
        try:
            environment = Environment.model_validate(done.definition)
        except ValidationError as error:
            known = {one.field for one in faults}
            faults += [
                one for one in faults_of(error, done, self.translator) if one.field not in known
            ]
        if environment is None or faults:
            return None, done, faults
        ask = message if typed.line("propose") and not self.person.is_admin else None
        return Wish(environment, secrets, ask, version), done, []

    async def save(self, wish: Wish) -> Found:
        return await self.database.write(
            _save, self.person, wish, self.context.seal("environment-secrets"), now()
        )


class NewPage(FormPage):
    """`/workshop/environments/new`; with `?image=`, of that image."""

    async def get(self) -> None:
        material = await self.material(None)
        wanted = self.get_query_argument("image", "")[:255]
        known = material.proposal(wanted)
        typed = blank(known or next(iter(material.bases), None), self.translator.lang)
        if known is not None and known in material.built:
            typed.values |= {"image.source": "built", "image.built": wanted}
        elif wanted and known is None:
            typed.values |= {"image.source": "reference", "image": wanted}
        self.show(typed, material)

    async def post(self) -> None:
        material = await self.material(None)
        typed = self.typed()
        focus = self.acted(typed, material)
        if focus is not None:
            self.show(typed, material, previewed=focus == "preview", focus=focus)
            return
        proposed = not typed.line("slug")
        title = typed.line("title.en") or typed.line("title.fr")
        tried: list[str] = []
        while True:
            if proposed:
                typed.values["slug"] = proposed_slug(title, tried)
            wish, done, faults = self.wish(typed, None, None)
            if proposed and not title:  # there is nothing to make the name from: say that alone
                faults = [fault for fault in faults if fault.field != "slug"]
            if typed.line("slug") in api.RESERVED_SLUGS:
                faults.append(Fault("slug", self._say_taken()))
            if wish is None or faults:
                self.show(typed, material, faults=faults)
                return
            try:
                found = await self.save(wish)
            except Conflict as error:
                if error.code != "exists-already":
                    raise
                if proposed and len(tried) < _NAMES_TRIED:
                    tried.append(typed.line("slug"))
                    continue
                self.show(typed, material, faults=[Fault("slug", self._say_taken())])
            except Invalid as error:
                problems = faults_at(error.problems, done, self.translator)
                self.show(typed, material, faults=problems)
            else:
                self.go(f"environments/{found.environment.slug}", "created")
            return

    def _say_taken(self) -> str:
        return self.translator.gettext("this name is taken: choose another one")


class EditPage(FormPage):
    """`/workshop/environments/SLUG/edit`."""

    async def get(self, slug: str) -> None:
        material = await self.material(slug)
        self.show(self._as_typed(_dump(material.edited.environment), material), material)

    def _as_typed(self, definition: Mapping[str, Any], material: Material) -> Typed:
        typed = typed_of(definition, material.built, material.bases, self.translator.lang)
        typed.values["version"] = str(material.edited.version)
        return typed

    async def post(self, slug: str) -> None:
        material = await self.material(slug)
        typed = self.typed()
        typed.values["slug"] = slug
        focus = self.acted(typed, material)
        version = self.version_field()
        base = await self.database.read(_base, self.person, slug, version)
        typed = self._chosen(typed, base, material)
        if focus is not None:
            self.show(typed, material, previewed=focus == "preview", focus=focus)
            return
        wish, done, faults = self.wish(typed, base, version)
        if wish is None:
            self.show(typed, material, faults=faults)
            return
        try:
            found = await self.save(wish)
        except Invalid as error:
            problems = faults_at(error.problems, done, self.translator)
            self.show(typed, material, faults=problems)
        except Conflict as error:
            if error.code != "changed-meanwhile":
                raise
            await self._meet(typed, wish, version)
        else:
            self.go(f"environments/{found.environment.slug}", "saved")

    def _chosen(self, typed: Typed, base: dict[str, Any], material: Material) -> Typed:
        """The form with their values where that was chosen; `base` is what they saved."""
        paths = [
            name.removeprefix("choice.")
            for name, choice in typed.values.items()
            if name.startswith("choice.") and choice == "theirs"
        ]
        if not paths:
            return typed
        mine = read(typed, base, self.translator)
        resolved = self._as_typed(resolve(mine.definition, base, paths), material)
        # What is no part of the definition, and what could not be read, stays as it was typed.
        for name, value in typed.values.items():
            wrong = any(name == one.field for one in mine.faults)
            if name.startswith(("secrets.", "propose")) or name == "version" or wrong:
                resolved.values[name] = value
        resolved.rows["secrets"] = typed.rows["secrets"]
        return resolved

    async def _meet(self, typed: Typed, wish: Wish, version: int) -> None:
        """Show what the other person saved, with both people's work in the form."""
        found, merged, meeting = await self.database.read(
            _meeting, self.person, wish.environment.slug, version, _dump(wish.environment)
        )
        material = await self.material(wish.environment.slug)
        both = self._as_typed(merged, material)
        both.values["version"] = str(found.version)
        for name, value in typed.values.items():
            if name.startswith(("secrets.", "propose")):
                both.values[name] = value
        both.rows["secrets"] = typed.rows["secrets"]
        self.show(both, material, meeting=meeting)


class PreviewPage(FormPage):
    """`POST /workshop/environments/preview`: the preview alone, for the page's script."""

    async def get(self) -> None:
        self.redirect(f"{self.addresses.service_prefix}workshop/environments/new", status=303)

    async def post(self) -> None:
        typed = self.typed()
        self.render_page(
            "workshop/_form_preview.html", shown=self.previewed(typed, None), unlinked=unlinked
        )


def unlinked(html: str) -> Markup:
    """A preview whose links and buttons lead nowhere: to follow one would lose the form."""
    text = re.sub(
        r'<a\b([^>]*?)\shref="[^"]*"', r'<a role="link" aria-disabled="true"\1', str(html)
    )
    return Markup(text)  # noqa: S704 - it was rendered, and escaped, by a template of ours


def _by_field(faults: list[Fault]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for fault in faults:
        found.setdefault(fault.field, []).append(fault.message)
    return found


def _is_archived(found: Found | None) -> bool:
    return found is not None and found.environment.status == "archived"


SLUG = r"([a-z0-9-]{1,30})"
ROUTES: list[tuple[str, type[RequestHandler]]] = [
    ("workshop/environments/new", NewPage),
    ("workshop/environments/preview", PreviewPage),
    (f"workshop/environments/{SLUG}/edit", EditPage),
]
