"""The pages of images: their list, recipe, files, builds with a live log, colleagues."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import ValidationError
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from ...domain import context, names
from ...domain.access import Right, may_copy, may_edit
from ...domain.dockerfile import dockerfile, failing_line
from ...domain.environment import LANGUAGES, Environment, Status, Text
from ...domain.errors import N_, Conflict, Invalid, NotFound, Unavailable, error_for
from ...domain.images import UNFINISHED, BaseImage, BuildState, ContextFile, Recipe, Source, Tool
from ...domain.packages import listed
from ...domain.people import Person
from ...filestore import FileStore
from ...store import builds, images, workshop
from ...store.builds import Build
from ...store.database import Session
from ...store.images import FoundImage, ImagePage, ImageUse, Show
from ...store.reading import Found
from ...web.i18n import translator
from ...web.problems import as_error
from ...web.service import now
from . import api, images_api, images_form
from .images_form import Problem, Problems, Typed
from .pages import SLUG, nearby_pages
from .workshop_pages import WorkshopPage, suggested_name

SHOWS: tuple[Show, ...] = ("mine", "shared", "public", "all")

DONE = {
    "saved": N_("The image was saved."),
    "public": N_("All teachers can see and use this image now."),
    "private": N_("Only you and your colleagues can see this image now."),
    "given": N_("The right was given."),
    "taken": N_("The right was taken away."),
    "removed": N_("What you chose was removed."),
    "added": N_("The files are there."),
    "deleted": N_("The image was deleted."),
    "used": N_("The environment starts this build from now on. What runs already stays as it is."),
}
"""What a page says after an action; the key is in its address."""

Actions = dict[str, Callable[[], Coroutine[Any, Any, None]]]

_MOST_NAMES = 20
_POLL_SECONDS = 0.5
_HEARTBEAT_SECONDS = 15
_MOST_WATCHERS = 200
_LOG_SHOWN = 400_000
"""Characters of a log that a page is given at first; the rest is fetched or left out."""


class ImagesPage(WorkshopPage):
    """A page of images; for teachers alone, as all of the workshop."""

    @property
    def bases(self) -> tuple[BaseImage, ...]:
        return self.context.base_images

    def address(self, *parts: str) -> str:
        """Where a page of images is."""
        return f"{self.addresses.service_prefix}workshop/images" + "".join(f"/{p}" for p in parts)

    def to(self, *parts: str, done: str = "") -> None:
        query = f"?{urlencode({'done': done})}" if done else ""
        self.redirect(self.address(*parts) + query, status=303)

    @property
    def done(self) -> str:
        return DONE.get(self.query("done"), "")

    async def build(self, slug: str) -> None:
        """Ask for a build, and go to its page. Raises `Conflict` while another one is under way."""
        asked = await self.database.write(images_api.ask_build, slug, self.person, now())
        await images_api.wake(self.context)
        self.to(slug, "builds", str(asked.number))

    async def act(self, actions: Actions) -> None:
        """Do what the button of a form stands for."""
        action = actions.get(self.line("action", 20))
        if action is None:
            raise NotFound()
        await action()


# --- the list ------------------------------------------------------------------------------------


class ListPage(ImagesPage):
    """`workshop/images`: mine, shared with me, public; search by words."""

    PAGE_SIZE = 24

    async def get(self) -> None:
        text = self.query("q")
        show = next((one for one in SHOWS if one == self.query("show", 10)), SHOWS[0])
        wanted = self.query("page", 10)
        number = max(1, int(wanted)) if re.fullmatch("[0-9]{1,5}", wanted) else 1
        found, waiting = await self.database.read(
            _list,
            self.person,
            text=text,
            show=show,
            offset=(number - 1) * self.PAGE_SIZE,
            limit=self.PAGE_SIZE,
        )
        pages = max(1, -(-found.total // self.PAGE_SIZE))
        kept = {"q": text, "show": show if show != SHOWS[0] else ""}
        self.render_page(
            "images/list.html",
            found=found,
            waiting=waiting,
            bases=self.bases,
            text=text,
            show=show,
            number=number,
            pages=pages,
            nearby=nearby_pages(number, pages),
            address=f"{self.address()}?{urlencode({k: v for k, v in kept.items() if v})}",
            done=self.done,
        )


def _list(session: Session, person: Person, **asked: Any) -> tuple[ImagePage, int]:
    return images.search(session, person, **asked), len(workshop.requests(session, person))


# --- the form ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A field that somebody else saved meanwhile, and what it is there."""

    field: str
    theirs: str


class FormPage(ImagesPage):
    """What making and changing an image share."""

    def typed(self) -> Typed:
        return {
            name: images_form.clean(name, self.get_body_argument(name, "", strip=False))
            for name in images_form.FIELDS
        }

    def shown_dockerfile(
        self, typed: Typed, files: tuple[ContextFile, ...]
    ) -> tuple[str, Problems]:
        """The Dockerfile of what is typed, if it can be made; a title is not needed for it."""
        untitled = {"title_fr": "-", "title_en": "-", "description_fr": "", "description_en": ""}
        recipe, problems = images_form.read_recipe(typed | untitled, self.bases)
        if recipe is None or recipe.source is not Source.PACKAGES:
            return "", problems
        return dockerfile(recipe, images_form.base_of(self.bases, recipe.base), files), {}

    def show_form(
        self,
        typed: Typed,
        *,
        found: FoundImage | None,
        problems: Problems | None = None,
        differences: list[Difference] | None = None,
        version: int | None = None,
        note: str = "",
    ) -> None:
        if version is None:
            version = self.version_field() if found else 0
        if problems or differences:
            self.set_status(409 if differences else 422)
        text, _ = self.shown_dockerfile(typed, found.files if found else ())
        self.render_page(
            "images/form.html",
            found=found,
            typed=typed,
            problems=problems or {},
            differences=differences or [],
            version=version,
            bases=self.bases,
            tools=list(Tool),
            generated=text,
            note=note,
            labels=LABELS,
        )

    def buttons(
        self, found: FoundImage | None, save_image: Callable[[bool], Awaitable[None]]
    ) -> Actions:
        """What the buttons do; `save_image` is told whether it is to be built, too."""

        async def save() -> None:
            await save_image(False)

        async def build() -> None:
            await save_image(True)

        async def preview() -> None:
            self.preview(found)

        async def by_hand() -> None:
            self.take_over(found)

        return {"save": save, "build": build, "preview": preview, "by-hand": by_hand}

    async def saved(self, slug: str, *, build: bool) -> None:
        """To the new build if one is wanted, and no other one is under way; else to the image."""
        if build:
            with suppress(Conflict):
                await self.build(slug)
                return
        self.to(slug, done="saved")

    def preview(self, found: FoundImage | None) -> None:
        """The form again, with its Dockerfile: for those whose browser does not ask by itself."""
        self.show_form(self.typed(), found=found)

    def take_over(self, found: FoundImage | None) -> None:
        typed = self.typed()
        text, problems = self.shown_dockerfile(typed, found.files if found else ())
        if not text:
            self.show_form(typed, found=found, problems=problems)
            return
        self.show_form(
            images_form.by_hand(typed, text, self.bases),
            found=found,
            note=N_(
                "This is the Dockerfile of your lists. Change what you like; nothing is saved yet."
            ),
        )


LABELS = {
    "title_fr": N_("Title in French"),
    "title_en": N_("Title in English"),
    "description_fr": N_("Description in French"),
    "description_en": N_("Description in English"),
    "slug": N_("Short name"),
    "source": N_("What it is made from"),
    "base": N_("Base image"),
    "other_base": N_("Base image"),
    "apt": N_("Debian packages (apt)"),
    "pip": N_("Python packages (pip)"),
    "conda": N_("conda packages"),
    "r": N_("R packages"),
    "start": N_("Start script"),
    "dockerfile": N_("Dockerfile"),
    "repository": N_("Git repository"),
    "branch": N_("Branch or tag"),
    "arguments": N_("Build arguments"),
    "command": N_("Command"),
    "home": N_("Folder for people's files"),
    "port": N_("Port"),
    "kind": N_("Kind of interface"),
    "interfaces": N_("Interfaces"),
}


class NewPage(FormPage):
    """`workshop/images/new`."""

    async def get(self) -> None:
        typed = images_form.blank(self.bases)
        wanted = self.query("base", 30)
        if any(base.slug == wanted for base in self.bases):
            typed["base"] = wanted
        self.show_form(typed, found=None)

    async def post(self) -> None:
        await self.act(self.buttons(None, self.save))

    async def save(self, build: bool) -> None:
        typed = self.typed()
        recipe, problems = images_form.read_recipe(typed, self.bases)
        slug = typed["slug"] or images_form.proposed_slug(typed["title_en"] or typed["title_fr"])
        if not names.is_slug(slug) or slug == "new":
            problems["slug"] = [Problem(_SLUG_SAYS)]
        if recipe is None or problems:
            self.show_form(typed, found=None, problems=problems)
            return
        found = await self._create(slug, recipe, chosen=bool(typed["slug"]))
        if found is None:
            taken = N_("this short name is taken: choose another one")
            self.show_form(typed, found=None, problems={"slug": [Problem(taken)]})
        else:
            await self.saved(found.slug, build=build)

    async def _create(self, slug: str, recipe: Recipe, *, chosen: bool) -> FoundImage | None:
        """Make the image; a name that nobody chose gets a number where it is taken."""
        for _ in range(_MOST_NAMES):
            with suppress(Conflict):
                return await self.database.write(
                    images_api.create, slug, recipe, self.person, now()
                )
            if chosen:
                break
            slug = suggested_name(slug)
        return None


_SLUG_SAYS = N_(
    "write 1 to 30 lower-case letters, digits and dashes, such as python-for-statistics; "
    "the first is a letter"
)


class EditPage(FormPage):
    """`workshop/images/SLUG/edit`."""

    async def get(self, slug: str) -> None:
        found = await self.database.read(images_api.editable, slug, self.person)
        typed = images_form.typed_of(found.recipe, self.bases)
        self.show_form(typed, found=found, version=found.version)

    async def post(self, slug: str) -> None:
        found = await self.database.read(images_api.editable, slug, self.person)
        await self.act(self.buttons(found, partial(self.save, found)))

    async def save(self, found: FoundImage, build: bool) -> None:
        typed = self.typed()
        recipe, problems = images_form.read_recipe(typed, self.bases)
        if recipe is None:
            self.show_form(typed, found=found, problems=problems)
            return
        try:
            await self.database.write(
                images_api.update, found.slug, recipe, self.person, self.version_field(), now()
            )
        except Conflict as error:
            if error.code != "changed-meanwhile":
                raise
            theirs = await self.database.read(images_api.editable, found.slug, self.person)
            saved = images_form.typed_of(theirs.recipe, self.bases)
            self.show_form(
                typed,
                found=theirs,
                version=theirs.version,
                differences=_differences(saved, images_form.typed_of(recipe, self.bases)),
            )
            return
        await self.saved(found.slug, build=build)


def _differences(theirs: Typed, mine: Typed) -> list[Difference]:
    return [
        Difference(name, theirs[name])
        for name in images_form.FIELDS
        if name not in {"slug", "interfaces"} and theirs[name] != mine[name]
    ]


class DockerfilePreview(FormPage):
    """`POST workshop/images/(SLUG|new)/dockerfile`: the Dockerfile of what is being typed."""

    async def post(self, slug: str) -> None:
        files: tuple[ContextFile, ...] = ()
        if slug != "new":
            files = (await self.database.read(images_api.editable, slug, self.person)).files
        text, problems = self.shown_dockerfile(self.typed(), files)
        tr = self.translator
        self.set_header("Cache-Control", "no-store")
        self.write(
            {
                "dockerfile": text,
                "problems": {
                    field: [": ".join(filter(None, (p.item, tr.known(p.text)))) for p in found]
                    for field, found in problems.items()
                },
            }
        )


# --- one image -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class OneImage:
    """What the page of an image shows."""

    found: FoundImage
    builds: list[Build]
    uses: list[ImageUse]


def _one(session: Session, slug: str, person: Person) -> OneImage:
    found = images_api.visible(session, slug, person)
    uses = images_api.uses(session, found, person)
    return OneImage(found, builds.of_image(session, found.id), uses)


class Page(ImagesPage):
    """`workshop/images/SLUG`: what it is, its builds, who uses it."""

    async def get(self, slug: str) -> None:
        person = self.person
        one: OneImage = await self.database.read(_one, slug, person)
        newest = next((b for b in one.builds if _has_image(b)), None)
        self.render_page(
            "images/image.html",
            one=one,
            found=one.found,
            base=images_form.base_of(self.bases, one.found.recipe.base),
            newest=newest,
            unfinished=next((b for b in one.builds if b.state in UNFINISHED), None),
            may_edit=one.found.may_edit(person),
            may_own=one.found.may_own(person),
            done=self.done,
        )

    async def post(self, slug: str) -> None:
        async def build() -> None:
            await self.build(slug)

        async def public() -> None:
            await self.database.write(images_api.set_public, slug, self.person, True, now())
            self.to(slug, done="public")

        async def private() -> None:
            await self.database.write(images_api.set_public, slug, self.person, False, now())
            self.to(slug, done="private")

        await self.act({"build": build, "public": public, "private": private})


def _has_image(build: Build) -> bool:
    return build.state is BuildState.DONE and build.removed_at is None


# --- files ---------------------------------------------------------------------------------------


class FilesPage(ImagesPage):
    """`workshop/images/SLUG/files`: the context; sending is `images_api`'s, by script or form."""

    async def get(self, slug: str) -> None:
        await self._show(slug)

    async def _show(self, slug: str, problems: list[tuple[str, str]] | None = None) -> None:
        if problems:
            self.set_status(422)
        found = await self.database.read(images_api.visible, slug, self.person)
        self.render_page(
            "images/files.html",
            problems=problems or [],
            found=found,
            folders=_folders(found.files),
            total=sum(file.size_bytes for file in found.files),
            limits=context,
            may_edit=found.may_edit(self.person),
            done=self.done,
        )

    async def post(self, slug: str) -> None:
        async def remove() -> None:
            paths = [path for path in self.get_body_arguments("file") if path]
            if paths:
                await self.database.write(images_api.remove_files, slug, paths, self.person, now())
            self.to(slug, "files", done="removed" if paths else "")

        async def add() -> None:
            await self._add(slug)

        await self.act({"remove": remove, "add": add})

    async def _add(self, slug: str) -> None:
        """Small files, for those whose browser sends only forms."""
        await self.database.read(images_api.editable, slug, self.person)
        store = self.context.files
        if store is None:
            raise Unavailable("files-no-room")
        sent = [item for item in self.request.files.get("files", []) if item.filename]
        try:
            files = [
                await asyncio.to_thread(_kept, store, item.filename, item.body) for item in sent
            ]
            if files:
                await self.database.write(images_api.put_files, slug, files, self.person, now())
        except Invalid as error:
            await self._show(slug, error.problems)
            return
        self.to(slug, "files", done="added" if files else "")


def _kept(store: FileStore, name: str, body: bytes) -> ContextFile:
    try:
        path = context.clean_path(name.replace("\\", "/").rpartition("/")[2])
    except ValueError as error:
        raise Invalid(problems=[("", str(error))]) from None
    sha256, size_bytes = store.put([body])
    return ContextFile(path=path, sha256=sha256, size_bytes=size_bytes)


def _folders(files: tuple[ContextFile, ...]) -> list[tuple[str, list[ContextFile]]]:
    """Files by the folder they are in; those in none first."""
    found: dict[str, list[ContextFile]] = {}
    for file in sorted(files, key=lambda file: file.path.casefold()):
        found.setdefault(file.path.rpartition("/")[0], []).append(file)
    return sorted(found.items(), key=lambda item: item[0].casefold())


# --- builds --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OneBuild:
    """What the page of a build shows."""

    found: FoundImage
    build: Build
    position: int
    uses: list[ImageUse]
    environments: list[Found]
    wanted: Found | None


def _one_build(session: Session, slug: str, number: int, person: Person, wanted: str) -> OneBuild:
    found = images_api.visible(session, slug, person)
    build = builds.by_number(session, found.id, number)
    queued = build.state is BuildState.QUEUED
    done = _has_image(build)
    return OneBuild(
        found=found,
        build=build,
        position=builds.position(session, build) if queued else 0,
        uses=[
            use
            for use in images_api.uses(session, found, person)
            if use.reference == build.reference
        ]
        if done
        else [],
        environments=_environments_to_use_it(session, person) if done else [],
        wanted=_wanted(session, wanted, person) if wanted else None,
    )


def _environments_to_use_it(session: Session, person: Person) -> list[Found]:
    """The environments whose image this person may change."""
    found = [
        item
        for show in ("mine", "shared")
        for item in workshop.listing(session, person, show=show, limit=200).items
    ]
    return [item for item in found if _may_change_image(person, item)]


def _may_change_image(person: Person, found: Found) -> bool:
    environment = found.environment
    return (
        environment.status is not Status.ARCHIVED
        and (person.is_admin or not environment.public)
        and may_edit(person, environment, found.standing).allowed
    )


def _wanted(session: Session, slug: str, person: Person) -> Found | None:
    """The environment that a build was asked for, if it is still there for this person."""
    with suppress(NotFound):
        return api.visible(session, slug, person)
    return None


class BuildPage(ImagesPage):
    """`workshop/images/SLUG/builds/N`: how it goes, its log, what to do with it."""

    async def get(self, slug: str, number: str) -> None:
        person = self.person
        wanted = self.query("environment", 30)
        one: OneBuild = await self.database.read(_one_build, slug, int(number), person, wanted)
        pieces = await self.database.read(builds.log, one.build.id)
        log = "".join(text for _, text in pieces)
        build = one.build
        failed = build.state is BuildState.FAILED
        self.render_page(
            "images/build.html",
            one=one,
            found=one.found,
            build=build,
            unfinished=build.state in UNFINISHED,
            usable=_has_image(build),
            log=log[-_LOG_SHOWN:],
            cut=len(log) > _LOG_SHOWN,
            last=pieces[-1][0] if pieces else -1,
            failure=failing_line(log) if failed else None,
            without_settings=without_settings,
            error=error_for(build.end_code, dict(build.end_params)) if build.end_code else None,
            may_edit=one.found.may_edit(person),
            direct=one.wanted is not None and _may_change_image(person, one.wanted),
            quoted_reference=quote(build.reference, safe=""),
            steps=STEPS,
            done=self.done,
        )

    async def post(self, slug: str, number: str) -> None:
        async def cancel() -> None:
            with suppress(Conflict):  # it ended meanwhile: the page says how
                await self.database.write(
                    images_api.cancel_build, slug, int(number), self.person, now()
                )
            self.to(slug, "builds", number)

        async def use() -> None:
            await self._use(slug, int(number), copy=False)

        async def copy() -> None:
            await self._use(slug, int(number), copy=True)

        await self.act({"cancel": cancel, "use": use, "copy": copy})

    async def _use(self, slug: str, number: int, *, copy: bool) -> None:
        used = await self.database.write(
            _use_build,
            slug,
            number,
            self.line("environment", 30),
            self.person,
            copy=copy,
        )
        page = f"{slug}/builds/{number}"
        query = urlencode({"done": "used", "environment": used})
        self.redirect(f"{self.address()}/{page}?{query}", status=303)


def without_settings(command: str) -> str:
    """A command of a Dockerfile as its author knows it: without mounts and variables before it."""
    plain = re.sub(r"^RUN (?:--mount=\S+ )*(?:[A-Z_]+=\S+ )*", "RUN ", command)
    return plain.removeprefix("RUN ")


STEPS = (
    (BuildState.QUEUED, N_("Waiting")),
    (BuildState.BUILDING, N_("Building")),
    (BuildState.PUSHING, N_("Storing")),
    (BuildState.DONE, N_("Ready")),
)
"""What a build goes through, in order."""


def _use_build(
    session: Session, slug: str, number: int, target: str, person: Person, *, copy: bool
) -> str:
    """Let an environment, or a copy of it, start a build; its slug."""
    build = images_api.build_of(session, slug, number, person)
    found = api.visible(session, target, person)
    if copy:
        may_copy(person, found.environment, found.standing).or_raise(found.environment)
        found = _copied(session, found, person)
    slug = found.environment.slug
    images_api.use_build(session, build, slug, person, found.version, now())
    return slug


def _copied(session: Session, found: Found, person: Person) -> Found:
    """A copy of an environment, under a name that is free."""
    slug = found.environment.slug
    title = _in_both(N_("%(title)s – copy"), found.environment.title)
    name = slug
    for _ in range(_MOST_NAMES):
        name = suggested_name(name)
        with suppress(Conflict), session.begin_nested():
            return workshop.duplicate(session, slug, person, new_slug=name, title=title, now=now())
    raise Conflict("exists-already", name=name)


def _in_both(sentence: str, title: Text) -> Text:
    """A title made of another one, in each language."""
    return Text(
        **{
            language: translator(language).gettext(sentence, title=title.in_(language)[:100])
            for language in LANGUAGES
        }
    )


class BuildLog(ImagesPage):
    """`workshop/images/SLUG/builds/N/log`: the log as it comes, as server-sent events.

    `log` holds a piece of it, `state` where the build is, `end` is the last. Joined late, or again
    (Last-Event-ID), it goes on after the piece that the reader has.
    """

    _watchers = 0
    _gone = False

    def on_connection_close(self) -> None:
        self._gone = True

    async def get(self, slug: str, number: str) -> None:
        build = await self.database.read(images_api.build_of, slug, int(number), self.person)
        if BuildLog._watchers >= _MOST_WATCHERS:
            self.set_status(503)  # the page loads itself again instead
            return
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Accel-Buffering", "no")  # nginx would keep it back
        BuildLog._watchers += 1
        try:
            await self._follow(build.id, self._after)
        except StreamClosedError:
            pass
        finally:
            BuildLog._watchers -= 1

    @property
    def _after(self) -> int:
        """The number of the last piece that the reader has."""
        sent = self.request.headers.get("Last-Event-ID") or self.query("after", 12)
        return int(sent) if re.fullmatch("[0-9]{1,9}", sent) else -1

    async def _follow(self, build_id: int, after: int) -> None:
        """Write what is new, until the build has ended or nobody reads any more."""
        loop = asyncio.get_running_loop()
        known: dict[str, Any] = {}
        said = loop.time()
        self.write("retry: 2000\n\n")
        await self.flush()
        while not self._gone:
            state, pieces = await self.database.read(_news, build_id, after)
            for after, text in pieces:
                self._event("log", text, after)
            if state != known:
                self._event("state", state)
            if state["ended"]:
                self._event("end", None)
                return
            if pieces or state != known or loop.time() - said > _HEARTBEAT_SECONDS:
                self.write(": still here\n\n")  # where nothing else is said, proxies give up
                await self.flush()
                known, said = state, loop.time()
            await asyncio.sleep(_POLL_SECONDS)

    def _event(self, name: str, data: Any, number: int | None = None) -> None:
        known = f"id: {number}\n" if number is not None else ""
        self.write(f"{known}event: {name}\ndata: {json.dumps(data)}\n\n")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.clear_header("Content-Type")
        if "exc_info" in kwargs:
            status_code = as_error(kwargs["exc_info"][1]).status
        self.set_status(status_code)
        self.finish()


def _news(
    session: Session, build_id: int, after: int
) -> tuple[dict[str, Any], list[tuple[int, str]]]:
    """Where a build is, and the pieces of its log after one."""
    build = builds.get(session, build_id)
    queued = build.state is BuildState.QUEUED
    state = {
        "state": build.state.value,
        "position": builds.position(session, build) if queued else 0,
        "cancel": build.cancel_asked,
        "ended": build.state not in UNFINISHED,
    }
    return state, builds.log(session, build_id, after)


# --- colleagues, the end -------------------------------------------------------------------------


class SharingPage(ImagesPage):
    """`workshop/images/SLUG/sharing`: colleagues and what each may do."""

    async def get(self, slug: str) -> None:
        asked = self.query("q", 100).strip()
        found, holders, colleagues = await self.database.read(_sharing, slug, self.person, asked)
        self.render_page(
            "images/sharing.html",
            found=found,
            holders=holders,
            asked=asked,
            colleagues=colleagues,
            rights=RIGHTS,
            done=self.done,
        )

    async def post(self, slug: str) -> None:
        async def give() -> None:
            right = self.line("right", 4)
            if right not in list(Right):
                raise NotFound()
            await self.database.write(
                images_api.give_right,
                slug,
                self.person,
                self.line("name", 255),
                Right(right),
                now(),
            )
            self.to(slug, "sharing", done="given")

        async def take() -> None:
            name = self.line("name", 255)
            await self.database.write(images_api.take_right, slug, self.person, name, now())
            if name == self.person.name and not self.person.is_admin:
                self.to(done="taken")
            else:
                self.to(slug, "sharing", done="taken")

        await self.act({"give": give, "take": take})


RIGHTS = (
    (Right.VIEW, N_("see and use it")),
    (Right.EDIT, N_("change and build it too")),
    (Right.OWN, N_("own it: share and delete it too")),
)


def _sharing(session: Session, slug: str, person: Person, asked: str) -> tuple[Any, Any, Any]:
    found = images_api.owned(session, slug, person)
    holders = images.rights(session, found.id)
    named = {holder.name for holder in holders}
    colleagues = workshop.colleagues(session, asked) if len(asked) >= 3 else []
    return found, holders, [one for one in colleagues if one.name not in named]


class DeletePage(ImagesPage):
    """`workshop/images/SLUG/delete`: who uses it, and the question."""

    async def get(self, slug: str) -> None:
        found, uses = await self.database.read(_to_delete, slug, self.person)
        self.render_page("images/delete.html", found=found, uses=uses)

    async def post(self, slug: str) -> None:
        try:
            await self.database.write(
                images_api.delete, slug, self.person, self.version_field(), now()
            )
        except Conflict as error:
            if error.code != "still-used":
                raise
            self.to(slug, "delete")  # which says by whom
            return
        self.to(done="deleted")


def _to_delete(session: Session, slug: str, person: Person) -> tuple[FoundImage, list[ImageUse]]:
    found = images_api.owned(session, slug, person)
    return found, images.used_by(session, found.id)


# --- packages for a class ------------------------------------------------------------------------


class PackagesPage(ImagesPage):
    """`workshop/packages/SLUG`: what an environment has, and more packages: a new image."""

    async def get(self, slug: str) -> None:
        await self._show(slug)

    async def post(self, slug: str) -> None:
        found, base = await self.database.read(_to_extend, slug, self.person, self.bases)
        tools = _tools(base)
        tool = next((one for one in tools if one == self.line("tool", 5)), Tool.PIP)
        text = images_form.clean("packages", self.get_body_argument("packages", ""))[:20_000]
        packages = listed(tool, text)
        if not packages:
            nothing = Problem(N_("write at least one package"))
            await self._show(slug, tool, text, [nothing])
            return
        try:
            recipe = _extension(found.environment, tool, packages)
        except ValidationError as error:
            await self._show(slug, tool, text, images_form.of_list(error, tool, packages))
            return
        image, build = await self.database.write(_extend, slug, recipe, self.person)
        await images_api.wake(self.context)
        address = self.address(image.slug, "builds", str(build.number))
        self.redirect(f"{address}?{urlencode({'environment': slug})}", status=303)

    async def _show(
        self,
        slug: str,
        tool: Tool = Tool.PIP,
        text: str = "",
        problems: list[Problem] | None = None,
    ) -> None:
        found, base = await self.database.read(_to_extend, slug, self.person, self.bases)
        if problems:
            self.set_status(422)
        self.render_page(
            "images/packages.html",
            found=found,
            tools=_tools(base),
            tool=tool,
            text=text,
            problems=problems or [],
        )


def _to_extend(
    session: Session, slug: str, person: Person, bases: tuple[BaseImage, ...]
) -> tuple[Found, BaseImage | None]:
    """An environment that may be copied, and the base image with a card that it starts, if any."""
    found = api.visible(session, slug, person)
    may_copy(person, found.environment, found.standing).or_raise(found.environment)
    return found, images_form.base_of(bases, found.environment.image)


def _tools(base: BaseImage | None) -> list[Tool]:
    """How packages can be added, what most classes ask for first; nobody knows: all of them."""
    order = (Tool.PIP, Tool.CONDA, Tool.R, Tool.APT)
    return [tool for tool in order if base is None or tool in base.tools]


def _extension(environment: Environment, tool: Tool, packages: tuple[str, ...]) -> Recipe:
    title = _in_both(N_("%(title)s, with more packages"), environment.title)
    recipe = images.extension(environment, (), title)
    return Recipe.model_validate(recipe.model_dump() | {tool.value: packages})


def _extend(
    session: Session, slug: str, recipe: Recipe, person: Person
) -> tuple[FoundImage, Build]:
    name = images_form.proposed_slug(f"{slug} more")
    for _ in range(_MOST_NAMES):
        with suppress(Conflict):
            image = images.create(session, name, recipe, person, now())
            return image, images.ask_build(session, image.slug, person, now())
        name = suggested_name(name)
    raise Conflict("exists-already", name=name)


NUMBER = "([1-9][0-9]{0,8})"
_IMAGE = f"workshop/images/{SLUG}"
ROUTES: list[tuple[str, type[RequestHandler]]] = [
    ("workshop/images", ListPage),
    ("workshop/images/new", NewPage),
    (f"{_IMAGE}/dockerfile", DockerfilePreview),
    (_IMAGE, Page),
    (f"{_IMAGE}/edit", EditPage),
    (f"{_IMAGE}/files", FilesPage),
    (f"{_IMAGE}/builds/{NUMBER}", BuildPage),
    (f"{_IMAGE}/builds/{NUMBER}/log", BuildLog),
    (f"{_IMAGE}/sharing", SharingPage),
    (f"{_IMAGE}/delete", DeletePage),
    (f"workshop/packages/{SLUG}", PackagesPage),
]
