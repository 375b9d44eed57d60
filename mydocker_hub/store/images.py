"""Images that are made here: their recipes, rights, context files, and who uses them.

What the files hold lies in `filestore`; builds are in `store.builds`. A deleted image keeps its
row until nothing of it is left to clean away, and is found by nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, cast, exists, func, or_, select
from sqlalchemy import Text as SqlText
from sqlalchemy import delete as delete_rows
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain import context
from ..domain.access import Right, Standing
from ..domain.environment import Environment, Text
from ..domain.errors import Conflict, Invalid, NotFound
from ..domain.images import UNFINISHED, BuildState, ContextFile, Recipe, Source
from ..domain.people import Person
from . import builds, reading
from .builds import Build
from .editing import audit, person_row
from .tables import (
    BuildLogRow,
    BuildRow,
    EnvironmentRow,
    ImageFileRow,
    ImageRightRow,
    ImageRow,
    PersonRow,
    RightRow,
)

Show = Literal["mine", "shared", "public", "all"]


@dataclass(frozen=True)
class FoundImage:
    """An image as one person finds it; `right` is what that person was given."""

    id: int
    slug: str
    recipe: Recipe
    version: int
    public: bool
    right: Right | None
    files: tuple[ContextFile, ...]
    updated_at: datetime

    def may_see(self, person: Person) -> bool:
        """Whether the recipe, the files and the builds may be shown; students see no image."""
        return person.is_admin or (person.may_create and (self.public or self.right is not None))

    def may_edit(self, person: Person) -> bool:
        """Whether it may be changed and built."""
        return person.is_admin or (person.may_create and self._standing.has(Right.EDIT))

    def may_own(self, person: Person) -> bool:
        """Whether it may be shared, made public and deleted."""
        return person.is_admin or (person.may_create and self._standing.has(Right.OWN))

    @property
    def _standing(self) -> Standing:
        return Standing(right=self.right)


@dataclass(frozen=True)
class ListedImage:
    found: FoundImage
    last_build: Build | None


@dataclass(frozen=True)
class ImagePage:
    """Part of a list: `total` counts all that matched."""

    items: list[ListedImage]
    total: int


@dataclass(frozen=True)
class ImageHolder:
    """Somebody with a right on an image."""

    name: str
    display_name: str
    right: Right


@dataclass(frozen=True)
class ImageUse:
    """An environment that starts a build of an image; `people` own it."""

    slug: str
    title: Text
    reference: str
    people: tuple[str, ...]


@dataclass(frozen=True)
class BuiltImage:
    """The newest successful build of an image."""

    slug: str
    title: Text
    reference: str
    number: int
    recipe: Recipe
    build_id: int


# --- looking up ----------------------------------------------------------------------------------


def find(session: Session, slug: str, person: Person) -> FoundImage:
    """One image. Raises `NotFound`; what the person may do is for the caller to ask."""
    row = session.execute(_with_right(person).where(ImageRow.slug == slug)).first()
    if row is None:
        raise NotFound("image-unknown", image=slug)
    return _found(row, _files(session, [row.id]).get(row.id, ()))


def search(
    session: Session,
    person: Person,
    *,
    text: str = "",
    show: Show = "all",
    offset: int = 0,
    limit: int = 50,
) -> ImagePage:
    """The images that a person may see, the last changed first.

    `mine` are those that they own, `shared` those that they were given otherwise.
    """
    query = _with_right(person).where(_shown(person, show))
    for word in reading.normalise(text).split()[:10]:
        query = query.where(ImageRow.search_text.contains(word, autoescape=True))
    total = session.scalar(query.with_only_columns(func.count())) or 0
    rows = session.execute(
        query.order_by(ImageRow.updated_at.desc(), ImageRow.slug).offset(offset).limit(limit)
    ).all()
    ids = [row.id for row in rows]
    files, last = _files(session, ids), _last_builds(session, ids)
    return ImagePage(
        [ListedImage(_found(row, files.get(row.id, ())), last.get(row.id)) for row in rows], total
    )


def used_by(session: Session, image_id: int) -> list[ImageUse]:
    """The environments that start a build of this image, archived ones too; by their slugs."""
    built = set(
        session.scalars(
            select(BuildRow.reference).where(
                BuildRow.image_id == image_id, BuildRow.reference != ""
            )
        )
    )
    references = built | {reference.partition("@")[0] for reference in built}
    if not references:
        return []
    rows = session.execute(
        select(EnvironmentRow.id, EnvironmentRow.slug, EnvironmentRow.definition)
        .where(EnvironmentRow.image.in_(references))
        .order_by(EnvironmentRow.slug)
    ).all()
    owners = _owners(session, [row.id for row in rows])
    return [
        ImageUse(
            slug=row.slug,
            title=Text.model_validate(row.definition["title"]),
            reference=row.definition["image"],
            people=owners.get(row.id, ()),
        )
        for row in rows
    ]


def built(session: Session, person: Person) -> list[BuiltImage]:
    """The newest successful build of each image that a person may see; by the images' slugs."""
    newest = (
        select(func.max(BuildRow.id))
        .where(BuildRow.state == BuildState.DONE, BuildRow.removed_at.is_(None))
        .group_by(BuildRow.image_id)
    )
    rows = session.execute(
        _with_right(person)
        .where(_shown(person, "all"))
        .join(BuildRow, BuildRow.image_id == ImageRow.id)
        .where(BuildRow.id.in_(newest))
        .add_columns(
            BuildRow.id.label("build_id"),
            BuildRow.number,
            BuildRow.reference,
            cast(BuildRow.recipe, SqlText).label("built_recipe"),
        )
        .order_by(ImageRow.slug)
    )
    return [
        BuiltImage(
            slug=row.slug,
            title=_recipe(row.recipe).title,
            reference=row.reference,
            number=row.number,
            recipe=_recipe(row.built_recipe),
            build_id=row.build_id,
        )
        for row in rows
    ]


def known_files(session: Session) -> set[str]:
    """The SHA-256 of every file that a context, or a build that can be looked at, still names.

    For `FileStore.prune`. A build that failed keeps its list of files, not what was in them.
    """
    known = set(session.scalars(select(ImageFileRow.sha256).distinct()))
    kept = session.scalars(
        select(BuildRow.files)
        .join(ImageRow, ImageRow.id == BuildRow.image_id)
        .where(
            or_(
                BuildRow.state.in_(UNFINISHED),
                and_(
                    BuildRow.state == BuildState.DONE,
                    BuildRow.removed_at.is_(None),
                    ImageRow.deleted_at.is_(None),
                ),
            )
        )
    )
    for files in kept:
        known.update(file["sha256"] for file in files)
    return known


# --- changing ------------------------------------------------------------------------------------


def create(
    session: Session, slug: str, recipe: Recipe, person: Person, now: datetime
) -> FoundImage:
    """Add an image; its maker owns it. Raises `Conflict` where the slug is taken, or was."""
    row = ImageRow(slug=slug, version=1, public=False, created_at=now)
    _write(row, recipe, now)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        raise Conflict("exists-already", name=slug) from None
    maker = person_row(session, person, now)
    session.flush()
    session.add(ImageRightRow(person_id=maker.id, image_id=row.id, level=Right.OWN))
    audit(session, person.name, "image-created", slug, now)
    session.flush()
    return find(session, slug, person)


def update(
    session: Session,
    slug: str,
    recipe: Recipe,
    person: Person,
    expected_version: int,
    now: datetime,
) -> FoundImage:
    """Replace a recipe. Raises `Conflict` if somebody else changed it meanwhile."""
    row = _locked(session, slug)
    if row.version != expected_version:
        raise Conflict("changed-meanwhile")
    if Recipe.model_validate(row.recipe) != recipe:
        row.version += 1
        _write(row, recipe, now)
        audit(session, person.name, "image-changed", slug, now, version=row.version)
        session.flush()
    return find(session, slug, person)


def delete(
    session: Session, slug: str, person: Person, expected_version: int, now: datetime
) -> None:
    """Delete an image that no environment uses; a build of it that is under way is cancelled.

    Its built images are removed by the builder's rule (`builds.expired`). Raises `Conflict`.
    """
    row = _locked(session, slug)
    if row.version != expected_version:
        raise Conflict("changed-meanwhile")
    used = used_by(session, row.id)
    if used:
        names = ", ".join(use.slug for use in used)
        raise Conflict("still-used", name=slug, count=len(used), environments=names)
    audit(session, person.name, "image-deleted", slug, now, recipe=row.recipe)
    ids = list(session.scalars(select(BuildRow.id).where(BuildRow.image_id == row.id)))
    for build_id in session.scalars(
        select(BuildRow.id).where(BuildRow.image_id == row.id, BuildRow.state.in_(UNFINISHED))
    ):
        builds.cancel(session, build_id, person.name, now)
    session.execute(delete_rows(BuildLogRow).where(BuildLogRow.build_id.in_(ids)))
    session.execute(delete_rows(ImageFileRow).where(ImageFileRow.image_id == row.id))
    session.execute(delete_rows(ImageRightRow).where(ImageRightRow.image_id == row.id))
    row.public = False
    row.deleted_at = now


def set_public(session: Session, slug: str, person: Person, public: bool, now: datetime) -> None:
    """Show an image to all teachers, or no more; it is not a new version of the recipe."""
    row = _locked(session, slug)
    if row.public != public:
        row.public = public
        audit(session, person.name, "image-public" if public else "image-private", slug, now)


def put_files(
    session: Session,
    slug: str,
    files: Iterable[ContextFile],
    person: Person,
    now: datetime,
) -> FoundImage:
    """Add files to the context; one at the same path is replaced.

    Raises `Invalid` where the paths or the sizes of what would be there then cannot be.
    """
    row = _locked(session, slug)
    added = {file.path: file for file in files}
    after = {file.path: file for file in _files(session, [row.id]).get(row.id, ())} | added
    problems = context.problems(after.values())
    if problems:
        raise Invalid(problems=problems)
    _delete_files(session, row.id, added)
    session.add_all(ImageFileRow(image_id=row.id, **file.model_dump()) for file in added.values())
    row.updated_at = now
    audit(session, person.name, "image-files-added", slug, now, paths=sorted(added)[:20])
    session.flush()
    return find(session, slug, person)


def remove_files(
    session: Session, slug: str, paths: Sequence[str], person: Person, now: datetime
) -> FoundImage:
    """Take files out of the context; a folder's path takes all that is in it.

    Raises `NotFound` where there is none of them.
    """
    row = _locked(session, slug)
    there = [file.path for file in _files(session, [row.id]).get(row.id, ())]
    gone = [path for path in there if any(path == p or path.startswith(f"{p}/") for p in paths)]
    if not gone:
        raise NotFound()
    _delete_files(session, row.id, gone)
    row.updated_at = now
    audit(session, person.name, "image-files-removed", slug, now, paths=gone[:20])
    session.flush()
    return find(session, slug, person)


# --- rights --------------------------------------------------------------------------------------


def rights(session: Session, image_id: int) -> list[ImageHolder]:
    """Who has which right; owners first, then by name."""
    rows = session.execute(
        select(PersonRow.name, PersonRow.display_name, ImageRightRow.level)
        .join(PersonRow, PersonRow.id == ImageRightRow.person_id)
        .where(ImageRightRow.image_id == image_id)
    )
    holders = [ImageHolder(name, display_name, Right(level)) for name, display_name, level in rows]
    order = list(Right)
    return sorted(holders, key=lambda holder: (-order.index(holder.right), holder.name))


def give_right(
    session: Session, slug: str, actor: Person, name: str, right: Right, now: datetime
) -> None:
    """Give somebody a right, or another one. Raises `Conflict` when no owner would be left."""
    row = _locked(session, slug)
    person = _known_person(session, name)
    held = session.get(ImageRightRow, (person.id, row.id))
    if held is not None and held.level == right:
        return
    if held is None:
        session.add(ImageRightRow(person_id=person.id, image_id=row.id, level=right))
    else:
        if right is not Right.OWN:
            _check_other_owner(session, row.id, person.id, held.level)
        held.level = right
    session.flush()
    audit(session, actor.name, "image-right-given", slug, now, user=name, right=right.value)


def take_right(session: Session, slug: str, actor: Person, name: str, now: datetime) -> None:
    """Take a right away. Raises `Conflict` when no owner would be left."""
    row = _locked(session, slug)
    person = _known_person(session, name)
    held = session.get(ImageRightRow, (person.id, row.id))
    if held is None:
        raise NotFound()
    _check_other_owner(session, row.id, person.id, held.level)
    session.delete(held)
    session.flush()
    audit(session, actor.name, "image-right-taken", slug, now, user=name)


# --- builds and environments ---------------------------------------------------------------------


def ask_build(session: Session, slug: str, person: Person, now: datetime) -> Build:
    """Queue a build of an image as it is now. Raises `Conflict` while another one is under way."""
    row = _locked(session, slug)
    files = _files(session, [row.id]).get(row.id, ())
    recipe = Recipe.model_validate(row.recipe)
    return builds.ask(session, row.id, recipe, files, person.name, now)


def extend(
    session: Session,
    person: Person,
    environment: Environment,
    packages: Sequence[str],
    *,
    new_slug: str,
    title: Text,
    now: datetime,
) -> tuple[FoundImage, Build]:
    """A new image: that of an environment, with more pip packages; and its build, queued."""
    recipe = extension(environment, packages, title)
    found = create(session, new_slug, recipe, person, now)
    return found, ask_build(session, new_slug, person, now)


def extension(environment: Environment, packages: Sequence[str], title: Text) -> Recipe:
    """The recipe of an environment's image with more pip packages.

    Raises ValidationError where a package is not one.
    """
    return Recipe.model_validate(
        {
            "title": title,
            "source": Source.PACKAGES,
            "base": environment.image,
            "pip": tuple(packages),
            "command": environment.command,
            "interfaces": environment.interfaces,
            "home": environment.storage.dedicated or environment.storage.global_,
        }
    )


def with_build(environment: Environment, build: Build) -> Environment:
    """An environment that starts a build. Raises `Conflict` where the build has no image."""
    if build.state is not BuildState.DONE or build.removed_at is not None:
        raise Conflict("build-without-image", image=build.image_slug, number=build.number)
    return environment.model_copy(update={"image": build.reference})


def search_text(slug: str, recipe: Recipe) -> str:
    """What `search` looks into: name, texts and packages."""
    words = [
        slug,
        *(text.in_(lang) for text in (recipe.title, recipe.description) for lang in ("fr", "en")),
        recipe.base or "",
        *recipe.apt,
        *recipe.pip,
        *recipe.conda,
        *recipe.r,
    ]
    return " ".join(reading.normalise(" ".join(words)).split())


def _with_right(person: Person) -> Select[int, str, str, int, bool, datetime, str]:
    me = select(PersonRow.id).where(PersonRow.name == person.name).scalar_subquery()
    return (
        select(
            ImageRow.id,
            ImageRow.slug,
            cast(ImageRow.recipe, SqlText).label("recipe"),
            ImageRow.version,
            ImageRow.public,
            ImageRow.updated_at,
            ImageRightRow.level,
        )
        .select_from(ImageRow)
        .outerjoin(
            ImageRightRow,
            and_(ImageRightRow.image_id == ImageRow.id, ImageRightRow.person_id == me),
        )
        .where(ImageRow.deleted_at.is_(None))
    )


def _shown(person: Person, show: Show) -> ColumnElement[bool]:
    if show == "mine":
        return ImageRightRow.level == Right.OWN
    if show == "shared":
        return ImageRightRow.level.in_([Right.VIEW, Right.EDIT])
    if show == "public":
        return ImageRow.public.is_(True)
    if person.is_admin:
        return ImageRow.id.is_not(None)
    return or_(ImageRow.public.is_(True), ImageRightRow.level.is_not(None))


def _found(row: Any, files: tuple[ContextFile, ...]) -> FoundImage:
    return FoundImage(
        id=row.id,
        slug=row.slug,
        recipe=_recipe(row.recipe),
        version=row.version,
        public=row.public,
        right=Right(row.level) if row.level else None,
        files=files,
        updated_at=row.updated_at,
    )


@lru_cache(maxsize=500)  # as `reading.parsed`
def _recipe(text: str) -> Recipe:
    return Recipe.model_validate_json(text)


def _files(session: Session, image_ids: Iterable[int]) -> dict[int, tuple[ContextFile, ...]]:
    rows = session.scalars(
        select(ImageFileRow)
        .where(ImageFileRow.image_id.in_(list(image_ids)))
        .order_by(ImageFileRow.path)
    )
    found: dict[int, list[ContextFile]] = {}
    for row in rows:
        found.setdefault(row.image_id, []).append(
            ContextFile(
                path=row.path,
                sha256=row.sha256,
                size_bytes=row.size_bytes,
                executable=row.executable,
            )
        )
    return {image_id: tuple(files) for image_id, files in found.items()}


def _delete_files(session: Session, image_id: int, paths: Iterable[str]) -> None:
    paths = list(paths)
    for start in range(0, len(paths), 500):  # SQLite takes so many parameters at most
        session.execute(
            delete_rows(ImageFileRow).where(
                ImageFileRow.image_id == image_id,
                ImageFileRow.path.in_(paths[start : start + 500]),
            )
        )


def _last_builds(session: Session, image_ids: Iterable[int]) -> dict[int, Build]:
    newest = session.execute(
        select(BuildRow.image_id, func.max(BuildRow.id))
        .where(BuildRow.image_id.in_(list(image_ids)))
        .group_by(BuildRow.image_id)
    )
    return {image_id: builds.get(session, build_id) for image_id, build_id in newest}


def _owners(session: Session, environment_ids: list[int]) -> dict[int, tuple[str, ...]]:
    rows = session.execute(
        select(RightRow.environment_id, PersonRow.display_name, PersonRow.name)
        .join(PersonRow, PersonRow.id == RightRow.person_id)
        .where(RightRow.environment_id.in_(environment_ids), RightRow.level == Right.OWN)
        .order_by(PersonRow.name)
    )
    found: dict[int, list[str]] = {}
    for environment_id, display_name, name in rows:
        found.setdefault(environment_id, []).append(display_name or name)
    return {environment_id: tuple(names) for environment_id, names in found.items()}


def _locked(session: Session, slug: str) -> ImageRow:
    row = session.scalar(
        select(ImageRow)
        .where(ImageRow.slug == slug, ImageRow.deleted_at.is_(None))
        .with_for_update()
    )
    if row is None:
        raise NotFound("image-unknown", image=slug)
    return row


def _write(row: ImageRow, recipe: Recipe, now: datetime) -> None:
    row.recipe = recipe.model_dump(mode="json", by_alias=True)
    row.search_text = search_text(row.slug, recipe)
    row.updated_at = now


def _known_person(session: Session, name: str) -> PersonRow:
    row = session.scalar(select(PersonRow).where(PersonRow.name == name))
    if row is None or row.joined_to_id is not None:
        raise NotFound("account-unknown", name=name)
    return row


def _check_other_owner(session: Session, image_id: int, person_id: int, level: str) -> None:
    if level != Right.OWN:
        return
    others = session.scalar(
        select(
            exists().where(
                ImageRightRow.image_id == image_id,
                ImageRightRow.level == Right.OWN,
                ImageRightRow.person_id != person_id,
            )
        )
    )
    if not others:
        raise Conflict("last-owner")
