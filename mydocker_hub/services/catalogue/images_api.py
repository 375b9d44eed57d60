"""The part of the REST API for images: recipes, files, builds, colleagues.

The functions before the operations decide who may and then ask the store: pages use them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from ...domain import context as rules
from ...domain.access import Right, may_copy
from ...domain.dockerfile import dockerfile
from ...domain.environment import Model, Slug, Text, Title, YesNo
from ...domain.errors import N_, NotFound, Refused
from ...domain.images import BuildState, ContextFile, PipPackage, Recipe
from ...domain.people import Person
from ...filestore import FileStore, Writer, unpack
from ...store import builds, images
from ...store.builds import Build
from ...store.database import Session
from ...store.images import FoundImage, ImageHolder, ImageUse, Show
from ...store.reading import Found
from ...web.operations import Answer, Awaited, Operation, Upload
from . import api
from .api import ApiCall, Context, only_teachers
from .models import EnvironmentDetail, PrintableText
from .workshop_api import HolderList, RightRequest

# --- what comes in and goes out ------------------------------------------------------------------


def _free_for_an_image(slug: str) -> str:
    if slug == "new":
        raise ValueError(N_("this name is taken: choose another one"))
    return slug


ImageSlug = Annotated[Slug, AfterValidator(_free_for_an_image)]
FilePath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=rules.MAX_PATH_LENGTH),
    AfterValidator(rules.clean_path),
]


class ImageQuery(Model):
    q: PrintableText = Field(default="", max_length=200)
    show: Show = "all"
    offset: int = Field(default=0, ge=0, le=1_000_000)
    limit: int = Field(default=50, ge=1, le=200)


class ImageRequest(Model):
    slug: ImageSlug
    recipe: Recipe


class PublicRequest(Model):
    public: YesNo


class FileQuery(Model):
    """`path` is where the file lies in the context: relative, with / between folders."""

    path: FilePath


class NewFileQuery(FileQuery):
    executable: bool = False


class PackagesRequest(Model):
    """`slug` names the new image; its title is the environment's if none is given."""

    slug: ImageSlug
    title: Title | None = None
    packages: tuple[PipPackage, ...] = Field(min_length=1, max_length=300)


class UseRequest(Model):
    """`expected_version` is the one of the environment that you read: an old one is refused."""

    environment: Slug
    expected_version: int = Field(ge=1, le=999_999_999, strict=True)


class LogQuery(Model):
    """`after` is the position of the last piece that you have."""

    after: int = Field(default=-1, ge=-1, le=1_000_000_000)


class BuildSummary(Model):
    """`position` counts the builds that come before it in the queue, while it waits there."""

    image: str
    number: int
    state: BuildState
    position: int | None
    made_by: str
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cancel_asked: bool
    reference: str
    digest: str
    size_bytes: int | None
    git_commit: str
    end_code: str
    end_params: dict[str, Any]
    removed_at: datetime | None

    @classmethod
    def of(cls, build: Build, position: int | None = None) -> BuildSummary:
        return cls(**_fields(build, position))


class BuildDetail(BuildSummary):
    """With what it was made of."""

    recipe: Recipe
    files: tuple[ContextFile, ...]
    dockerfile: str

    @classmethod
    def of(cls, build: Build, position: int | None = None) -> BuildDetail:
        return cls(
            **_fields(build, position),
            recipe=build.recipe,
            files=build.files,
            dockerfile=build.dockerfile,
        )


def _fields(build: Build, position: int | None) -> dict[str, Any]:
    taken = set(BuildSummary.model_fields) - {"image", "position"}
    fields = {name: getattr(build, name) for name in taken}
    return {**fields, "image": build.image_slug, "position": position}


class BuildList(Model):
    items: tuple[BuildSummary, ...]


class LogPiece(Model):
    position: int
    text: str


class BuildLog(Model):
    """`finished`: no more pieces come."""

    items: tuple[LogPiece, ...]
    state: BuildState
    finished: bool


class ImageSummary(Model):
    slug: str
    title: Text
    description: Text
    version: int
    public: bool
    updated_at: datetime
    right: Right | None
    may_edit: bool
    may_own: bool

    @classmethod
    def of(cls, found: FoundImage, person: Person) -> ImageSummary:
        return cls(**_of_image(found, person))


class ListedImage(ImageSummary):
    last_build: BuildSummary | None


class ImageList(Model):
    items: tuple[ListedImage, ...]
    total: int
    offset: int
    limit: int


class ImageDetail(ImageSummary):
    recipe: Recipe
    files: tuple[ContextFile, ...]

    @classmethod
    def of(cls, found: FoundImage, person: Person) -> ImageDetail:
        return cls(**_of_image(found, person), recipe=found.recipe, files=found.files)


def _of_image(found: FoundImage, person: Person) -> dict[str, Any]:
    return {
        "slug": found.slug,
        "title": found.recipe.title,
        "description": found.recipe.description,
        "version": found.version,
        "public": found.public,
        "updated_at": found.updated_at,
        "right": found.right,
        "may_edit": found.may_edit(person),
        "may_own": found.may_own(person),
    }


class FileList(Model):
    items: tuple[ContextFile, ...]
    total_bytes: int

    @classmethod
    def of(cls, files: Sequence[ContextFile]) -> FileList:
        return cls(items=tuple(files), total_bytes=sum(file.size_bytes for file in files))


class DockerfileText(Model):
    """Empty where nothing is known before the build: of a Git repository."""

    dockerfile: str


class Use(Model):
    """An environment that starts a build of the image; `people` own it."""

    environment: str
    title: Text
    reference: str
    people: tuple[str, ...]


class UseList(Model):
    items: tuple[Use, ...]


# --- who may -------------------------------------------------------------------------------------


def visible(session: Session, slug: str, person: Person) -> FoundImage:
    """An image that the person may see; any other one does not exist for them."""
    only_teachers(person)
    found = images.find(session, slug, person)
    if not found.may_see(person):
        raise NotFound("image-unknown", image=slug)
    return found


def editable(session: Session, slug: str, person: Person) -> FoundImage:
    """An image that the person may change and build."""
    found = visible(session, slug, person)
    if not found.may_edit(person):
        raise Refused("not-allowed")
    return found


def owned(session: Session, slug: str, person: Person) -> FoundImage:
    """An image that the person may share, show to all and delete."""
    found = visible(session, slug, person)
    if not found.may_own(person):
        raise Refused("not-allowed")
    return found


def build_of(session: Session, slug: str, number: int, person: Person) -> Build:
    """A build of an image that the person may see. Raises `NotFound`."""
    return builds.by_number(session, visible(session, slug, person).id, number)


def uses(session: Session, found: FoundImage, person: Person) -> list[ImageUse]:
    """`store.images.used_by`: all for owners, who may delete it; else what the person may see."""
    used = images.used_by(session, found.id)
    if found.may_own(person):
        return used
    return [use for use in used if _sees_environment(session, use.slug, person)]


def _sees_environment(session: Session, slug: str, person: Person) -> bool:
    try:
        api.visible(session, slug, person)
    except NotFound:
        return False
    return True


# --- what pages do as well -----------------------------------------------------------------------


def create(
    session: Session, slug: str, recipe: Recipe, person: Person, now: datetime
) -> FoundImage:
    """`store.images.create`, by teachers."""
    only_teachers(person)
    return images.create(session, slug, recipe, person, now)


def update(
    session: Session,
    slug: str,
    recipe: Recipe,
    person: Person,
    expected_version: int,
    now: datetime,
) -> FoundImage:
    """`store.images.update`, by editors."""
    editable(session, slug, person)
    return images.update(session, slug, recipe, person, expected_version, now)


def delete(
    session: Session, slug: str, person: Person, expected_version: int, now: datetime
) -> None:
    """`store.images.delete`, by owners."""
    owned(session, slug, person)
    images.delete(session, slug, person, expected_version, now)


def set_public(session: Session, slug: str, person: Person, public: bool, now: datetime) -> None:
    """`store.images.set_public`, by owners."""
    owned(session, slug, person)
    images.set_public(session, slug, person, public, now)


def rights(session: Session, slug: str, person: Person) -> list[ImageHolder]:
    """`store.images.rights`, for editors."""
    return images.rights(session, editable(session, slug, person).id)


def give_right(
    session: Session, slug: str, person: Person, name: str, right: Right, now: datetime
) -> None:
    """`store.images.give_right`, by owners."""
    owned(session, slug, person)
    images.give_right(session, slug, person, name, right, now)


def take_right(session: Session, slug: str, person: Person, name: str, now: datetime) -> None:
    """`store.images.take_right`, by owners; anybody may give up their own."""
    (visible if name == person.name else owned)(session, slug, person)
    images.take_right(session, slug, person, name, now)


def put_files(
    session: Session, slug: str, files: Sequence[ContextFile], person: Person, now: datetime
) -> FoundImage:
    """`store.images.put_files`, by editors."""
    editable(session, slug, person)
    return images.put_files(session, slug, files, person, now)


def remove_files(
    session: Session, slug: str, paths: Sequence[str], person: Person, now: datetime
) -> FoundImage:
    """`store.images.remove_files`, by editors."""
    editable(session, slug, person)
    return images.remove_files(session, slug, paths, person, now)


def file_of(session: Session, slug: str, path: str, person: Person) -> ContextFile:
    """A file of an image's context. Raises `NotFound`."""
    for file in visible(session, slug, person).files:
        if file.path == path:
            return file
    raise NotFound()


def ask_build(session: Session, slug: str, person: Person, now: datetime) -> Build:
    """`store.images.ask_build`, by editors; then `wake`."""
    editable(session, slug, person)
    return images.ask_build(session, slug, person, now)


def cancel_build(session: Session, slug: str, number: int, person: Person, now: datetime) -> Build:
    """`store.builds.cancel`, by the image's editors."""
    editable(session, slug, person)
    build = build_of(session, slug, number, person)
    return builds.cancel(session, build.id, person.name, now)


def extend(
    session: Session,
    environment_slug: str,
    packages: Sequence[str],
    person: Person,
    *,
    new_slug: str,
    title: Text | None,
    now: datetime,
) -> tuple[FoundImage, Build]:
    """`store.images.extend`, for teachers who may copy the environment."""
    only_teachers(person)
    found = api.visible(session, environment_slug, person)
    environment = found.environment
    may_copy(person, environment, found.standing).or_raise(environment)
    return images.extend(
        session,
        person,
        environment,
        packages,
        new_slug=new_slug,
        title=title or environment.title,
        now=now,
    )


def use_build(
    session: Session,
    build: Build,
    environment_slug: str,
    person: Person,
    expected_version: int,
    now: datetime,
) -> Found:
    """Let an environment start a build from now on: a new version of it, by its editors.

    Raises `Conflict` where the build has no image (any more), or the environment was changed.
    """
    before = api.editable(session, environment_slug, person)
    after = images.with_build(before.environment, build)
    return api.replace(session, person, after, expected_version, now)


async def wake(context: Context) -> None:
    """Tell the builder that there is something to do; it looks by itself as well."""
    if context.builder is not None:
        await context.builder.wake()


def shown_dockerfile(found: FoundImage, context: Context) -> str:
    """The Dockerfile of an image's recipe, as far as it is known before the build."""
    base = next((one for one in context.base_images if one.reference == found.recipe.base), None)
    return dockerfile(found.recipe, base, found.files)


# --- the operations: images ----------------------------------------------------------------------


def _list(session: Session, call: ApiCall) -> Answer:
    query: ImageQuery = call.query
    page = images.search(
        session,
        call.me,
        text=query.q,
        show=query.show,
        offset=query.offset,
        limit=query.limit,
    )
    items = [
        ListedImage(
            **_of_image(item.found, call.me),
            last_build=_summary(session, item.last_build) if item.last_build else None,
        )
        for item in page.items
    ]
    return Answer(
        ImageList(items=tuple(items), total=page.total, offset=query.offset, limit=query.limit)
    )


def _create(session: Session, call: ApiCall) -> Answer:
    asked: ImageRequest = call.body
    found = create(session, asked.slug, asked.recipe, call.me, call.now)
    return _image(found, call, location=f"images/{found.slug}")


def _get(session: Session, call: ApiCall) -> Answer:
    return _image(visible(session, call.path["slug"], call.me), call)


def _put(session: Session, call: ApiCall) -> Answer:
    slug = call.path["slug"]
    editable(session, slug, call.me)
    version = call.expected_version()
    return _image(update(session, slug, call.body, call.me, version, call.now), call)


def _delete(session: Session, call: ApiCall) -> Answer:
    slug = call.path["slug"]
    owned(session, slug, call.me)
    delete(session, slug, call.me, call.expected_version(), call.now)
    return Answer()


def _set_public(session: Session, call: ApiCall) -> Answer:
    slug = call.path["slug"]
    set_public(session, slug, call.me, call.body.public, call.now)
    return _image(visible(session, slug, call.me), call)


def _uses(session: Session, call: ApiCall) -> Answer:
    found = visible(session, call.path["slug"], call.me)
    return Answer(
        UseList(
            items=tuple(
                Use(
                    environment=use.slug,
                    title=use.title,
                    reference=use.reference,
                    people=use.people,
                )
                for use in uses(session, found, call.me)
            )
        )
    )


def _dockerfile(session: Session, call: ApiCall) -> Answer:
    found = visible(session, call.path["slug"], call.me)
    return Answer(DockerfileText(dockerfile=shown_dockerfile(found, call.context)))


def _rights(session: Session, call: ApiCall) -> Answer:
    return Answer(HolderList.of(rights(session, call.path["slug"], call.me)))


def _give_right(session: Session, call: ApiCall) -> Answer:
    asked: RightRequest = call.body
    give_right(session, call.path["slug"], call.me, call.path["user"], asked.right, call.now)
    return Answer()


def _take_right(session: Session, call: ApiCall) -> Answer:
    take_right(session, call.path["slug"], call.me, call.path["user"], call.now)
    return Answer()


def _image(found: FoundImage, call: ApiCall, location: str | None = None) -> Answer:
    return Answer(ImageDetail.of(found, call.me), version=found.version, location=location)


# --- the operations: files -----------------------------------------------------------------------


def _files(session: Session, call: ApiCall) -> Answer:
    return Answer(FileList.of(visible(session, call.path["slug"], call.me).files))


def _file_limit(session: Session, call: ApiCall) -> int:
    editable(session, call.path["slug"], call.me)
    return rules.MAX_FILE_BYTES


def _zip_limit(session: Session, call: ApiCall) -> int:
    editable(session, call.path["slug"], call.me)
    return rules.MAX_TOTAL_BYTES


def _take_file(files: FileStore, writer: Writer) -> tuple[str, int]:
    return writer.keep()


def _take_zip(files: FileStore, writer: Writer) -> tuple[ContextFile, ...]:
    return unpack(writer.finish(), files)


def _put_file(session: Session, call: ApiCall) -> Answer:
    query: NewFileQuery = call.query
    sha256, size_bytes = call.body
    file = ContextFile(
        path=query.path, sha256=sha256, size_bytes=size_bytes, executable=query.executable
    )
    put_files(session, call.path["slug"], [file], call.me, call.now)
    return Answer(file)


def _put_zip(session: Session, call: ApiCall) -> Answer:
    found = put_files(session, call.path["slug"], call.body, call.me, call.now)
    return Answer(FileList.of(found.files))


def _remove_file(session: Session, call: ApiCall) -> Answer:
    remove_files(session, call.path["slug"], [call.query.path], call.me, call.now)
    return Answer()


def _file_content(session: Session, call: ApiCall) -> Answer:
    file = file_of(session, call.path["slug"], call.query.path, call.me)
    if call.context.files is None:
        raise NotFound()
    return Answer(
        file=call.context.files.path(file.sha256), file_name=PurePosixPath(file.path).name
    )


# --- the operations: builds ----------------------------------------------------------------------


def _summary(session: Session, build: Build) -> BuildSummary:
    return BuildSummary.of(build, _position(session, build))


def _detail(session: Session, build: Build) -> BuildDetail:
    return BuildDetail.of(build, _position(session, build))


def _position(session: Session, build: Build) -> int | None:
    return builds.position(session, build) if build.state is BuildState.QUEUED else None


def _builds(session: Session, call: ApiCall) -> Answer:
    found = visible(session, call.path["slug"], call.me)
    items = (_summary(session, build) for build in builds.of_image(session, found.id))
    return Answer(BuildList(items=tuple(items)))


async def _ask_build(call: ApiCall) -> Answer:
    def ask(session: Session) -> BuildDetail:
        return _detail(session, ask_build(session, call.path["slug"], call.me, call.now))

    build = await call.context.database.write(ask)
    await wake(call.context)
    return Answer(build, location=f"images/{build.image}/builds/{build.number}")


def _build(session: Session, call: ApiCall) -> Answer:
    build = build_of(session, call.path["slug"], int(call.path["number"]), call.me)
    return Answer(_detail(session, build))


def _cancel_build(session: Session, call: ApiCall) -> Answer:
    number = int(call.path["number"])
    build = cancel_build(session, call.path["slug"], number, call.me, call.now)
    return Answer(_detail(session, build))


def _build_log(session: Session, call: ApiCall) -> Answer:
    build = build_of(session, call.path["slug"], int(call.path["number"]), call.me)
    query: LogQuery = call.query
    pieces = builds.log(session, build.id, query.after)
    items = tuple(LogPiece(position=position, text=text) for position, text in pieces)
    return Answer(BuildLog(items=items, state=build.state, finished=build.finished))


def _use_build(session: Session, call: ApiCall) -> Answer:
    asked: UseRequest = call.body
    build = build_of(session, call.path["slug"], int(call.path["number"]), call.me)
    found = use_build(session, build, asked.environment, call.me, asked.expected_version, call.now)
    return Answer(EnvironmentDetail.of(found, call.me), version=found.version)


async def _extend(call: ApiCall) -> Answer:
    asked: PackagesRequest = call.body

    def ask(session: Session) -> BuildDetail:
        _, build = extend(
            session,
            call.path["slug"],
            asked.packages,
            call.me,
            new_slug=asked.slug,
            title=asked.title,
            now=call.now,
        )
        return _detail(session, build)

    build = await call.context.database.write(ask)
    await wake(call.context)
    return Answer(build, location=f"images/{build.image}/builds/{build.number}")


OPERATIONS: list[Operation] = [
    Operation(
        "GET", "/images", "listImages",
        "The images that you may see, the last changed first.",
        _list, caller="teacher", query=ImageQuery, returns=ImageList,
    ),
    Operation(
        "POST", "/images", "createImage",
        "Make an image; it is yours. Nothing is built yet.",
        _create, caller="teacher", body=ImageRequest, returns=ImageDetail,
        status=201, versioned=True, errors=(409,),
    ),
    Operation(
        "GET", "/images/{slug}", "getImage",
        "One image: its recipe and its files.",
        _get, caller="teacher", returns=ImageDetail, versioned=True,
    ),
    Operation(
        "PUT", "/images/{slug}", "replaceRecipe",
        "Replace a recipe; refused (412) if it changed since you read it.",
        _put, caller="teacher", body=Recipe, returns=ImageDetail, versioned=True,
    ),
    Operation(
        "DELETE", "/images/{slug}", "deleteImage",
        "Remove an image that no environment uses; what was built of it is cleaned away.",
        _delete, caller="teacher", status=204, versioned=True, errors=(409,),
    ),
    Operation(
        "PUT", "/images/{slug}/public", "setImagePublic",
        "Show an image to all teachers, or no more.",
        _set_public, caller="teacher", body=PublicRequest, returns=ImageDetail,
    ),
    Operation(
        "GET", "/images/{slug}/uses", "listImageUses",
        "The environments that start a build of an image.",
        _uses, caller="teacher", returns=UseList,
    ),
    Operation(
        "GET", "/images/{slug}/dockerfile", "getDockerfile",
        "The Dockerfile that the next build takes.",
        _dockerfile, caller="teacher", returns=DockerfileText,
    ),
    Operation(
        "GET", "/images/{slug}/rights", "listImageRights",
        "Who works on an image.",
        _rights, caller="teacher", returns=HolderList,
    ),
    Operation(
        "PUT", "/images/{slug}/rights/{user}", "giveImageRight",
        "Give a colleague a right on an image, or another one.",
        _give_right, caller="teacher", body=RightRequest, status=204, errors=(409,),
    ),
    Operation(
        "DELETE", "/images/{slug}/rights/{user}", "takeImageRight",
        "Take a colleague's right away, or give up your own.",
        _take_right, caller="teacher", status=204, errors=(409,),
    ),
    Operation(
        "GET", "/images/{slug}/files", "listFiles",
        "The files that builds of an image are given.",
        _files, caller="teacher", returns=FileList,
    ),
    Operation(
        "PUT", "/images/{slug}/files", "putFile",
        "Add a file of at most 100 MB, or replace the one at that path.",
        _put_file, caller="teacher", query=NewFileQuery, upload=Upload(_file_limit, _take_file),
        returns=ContextFile,
    ),
    Operation(
        "DELETE", "/images/{slug}/files", "removeFile",
        "Remove a file, or a folder with all that is in it.",
        _remove_file, caller="teacher", query=FileQuery, status=204,
    ),
    Operation(
        "GET", "/images/{slug}/files/content", "getFile",
        "What is in a file.",
        _file_content, caller="teacher", query=FileQuery, returns_file=True,
    ),
    Operation(
        "POST", "/images/{slug}/files/zip", "putZip",
        "Add the files of a zip, each where the zip has it; at most 500 MB and 2,000 files.",
        _put_zip, caller="teacher", upload=Upload(_zip_limit, _take_zip), returns=FileList,
        errors=(422,),
    ),
    Operation(
        "GET", "/images/{slug}/builds", "listBuilds",
        "The last fifty builds of an image, newest first.",
        _builds, caller="teacher", returns=BuildList,
    ),
    Operation(
        "POST", "/images/{slug}/builds", "askBuild",
        "Queue a build of an image as it is now; one at a time of each image.",
        Awaited(_ask_build), caller="teacher", returns=BuildDetail, status=201, errors=(409,),
    ),
    Operation(
        "GET", "/images/{slug}/builds/{number}", "getBuild",
        "One build, with the recipe, files and Dockerfile that it was made of.",
        _build, caller="teacher", returns=BuildDetail,
    ),
    Operation(
        "POST", "/images/{slug}/builds/{number}/cancel", "cancelBuild",
        "Cancel a build: at once while it waits, in a moment while it runs.",
        _cancel_build, caller="teacher", returns=BuildDetail, errors=(409,),
    ),
    Operation(
        "GET", "/images/{slug}/builds/{number}/log", "getBuildLog",
        "The log of a build, after the piece that you have.",
        _build_log, caller="teacher", query=LogQuery, returns=BuildLog,
    ),
    Operation(
        "POST", "/images/{slug}/builds/{number}/use", "useBuild",
        "Let an environment that you may edit start this build from now on.",
        _use_build, caller="teacher", body=UseRequest, returns=EnvironmentDetail,
        versioned=True, errors=(409, 412),
    ),
    Operation(
        "POST", "/environments/{slug}/packages", "addPackages",
        "Make an image of an environment's with more Python packages, and queue its build.",
        Awaited(_extend), caller="teacher", body=PackagesRequest, returns=BuildDetail,
        status=201, errors=(409,),
    ),
]  # fmt: skip
