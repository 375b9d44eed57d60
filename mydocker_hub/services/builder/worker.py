"""The work of the builder: take a build from the queue, make the image, say how it ended."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from ... import gitsource
from ...domain import dockerfile
from ...domain.errors import N_, MydockerError
from ...domain.images import BuildState, ImageFacts, Recipe, Source
from ...domain.redaction import Redactor, secrets_of_arguments
from ...filestore import FileStore
from ...store import builds, images
from ...store.builds import Build
from ...store.database import Database
from ...swarm.builds import BuiltImage, CommandFailed, ImageEngine
from ...web.problems import plain
from ...web.service import now
from .state import Settings, wait_for_schema

log = logging.getLogger(__name__)

AT_ONCE = 2
POLL_SECONDS = 5.0
BEAT_SECONDS = 1.0
CLEAN_SECONDS = 600.0
_LEFT_SECONDS = 3600
_FOREIGN = N_("only docker/dockerfile may be named there")
_TAIL_LINES = 3000
"""What is read of a log to find what failed: the end of it."""


class Worker:
    """Works off the queue until it is cancelled; then what is under way is marked as broken off."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        lost_after: timedelta = builds.LOST_AFTER,
        keep: int = builds.KEPT_BUILDS,
    ) -> None:
        self.settings = settings
        self.database = database
        self.engine = ImageEngine(settings.setup, settings.limits)
        self.files = FileStore(settings.files)
        self.scratch = settings.files.parent / "builds"
        self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lost_after = lost_after
        self._keep = keep
        self._bases = {image.reference: image for image in settings.base_images}
        self._awake = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._cleaned = float("-inf")

    def wake(self) -> None:
        """Look at the queue now."""
        self._awake.set()

    async def run(self) -> None:
        await wait_for_schema(self.database)
        try:
            while True:
                self._awake.clear()
                try:
                    await self._look()
                except MydockerError as error:  # the database or the engine is away
                    log.warning("the queue of builds: %s", error)
                # Not wait_for: before Python 3.12 it loses a cancellation that comes with the end.
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._awake.wait()
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            await self.engine.close()

    async def _look(self) -> None:
        lost = await self.database.write(builds.recover, now(), lost_after=self._lost_after)
        for build_id in lost:
            log.warning("build %d was broken off: its builder is gone", build_id)
        while len(self._under_way) < AT_ONCE:
            build = await self.database.write(builds.claim, now())
            if build is None:
                break
            task = asyncio.create_task(self._build(build))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        if time.monotonic() > self._cleaned + CLEAN_SECONDS:
            self._cleaned = time.monotonic()
            await self.clean()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._awake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a build's end could not be noted", exc_info=error)

    # --- one build ---

    async def _build(self, build: Build) -> None:
        name = f"build {build.number} of {build.image_slug}"
        log.info("%s begins", name)
        redact = Redactor(self._secrets(build.recipe))
        told = _Log(self.database, build.id, redact)
        work = asyncio.create_task(_Job(self, build, told).run())
        beat = asyncio.create_task(self._beat(build, told))
        try:
            await asyncio.wait({work, beat}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            beat.cancel()
            ends_here = not work.done()
            work.cancel()
            result = (await asyncio.gather(work, return_exceptions=True))[0]
            await self._note_end(build, told, result, redact, wanted=ends_here)
            log.info("%s ended", name)

    async def _beat(self, build: Build, told: _Log) -> None:
        """Say each second that we are at it; ends where the build is to end."""
        while True:
            with suppress(MydockerError):
                await told.flush()
                if not await self.database.write(builds.beat, build.id, now()):
                    return
            await asyncio.sleep(BEAT_SECONDS)

    async def _note_end(
        self, build: Build, told: _Log, result: object, redact: Redactor, *, wanted: bool
    ) -> None:
        """`wanted`: it did not end by itself. Then somebody cancelled it, or we are to stop."""
        state, values = BuildState.FAILED, dict[str, Any]()
        if isinstance(result, BuiltImage):
            state = BuildState.DONE
            values = {
                "reference": result.reference,
                "digest": result.digest,
                "size_bytes": result.size_bytes,
            }
        elif isinstance(result, MydockerError):
            params = {key: plain(value) for key, value in result.params.items()}
            values = {
                "end_code": result.code,
                "end_params": {
                    key: redact(value) if isinstance(value, str) else value
                    for key, value in params.items()
                },
            }
            log.info("%s failed: %s", build.image_slug, redact(str(result)))
        elif wanted or isinstance(result, asyncio.CancelledError):
            current = await self.database.read(builds.get, build.id)
            if current.cancel_asked:
                state = BuildState.CANCELLED
            else:
                values = {"end_code": "build-interrupted"}
        else:
            values = {"end_code": "internal"}
            error = result if isinstance(result, Exception) else None
            log.error("%s failed", build.image_slug, exc_info=error)
        await told.flush()
        moved = await self.database.write(builds.move, build.id, state, now(), **values)
        if state is not BuildState.DONE or not moved:
            with suppress(MydockerError):
                if isinstance(result, BuiltImage):  # it ended while somebody gave it up
                    await self._remove(result.reference)
                await self.engine.remove(self.settings.setup.tag(build.image_slug, build.number))

    def _secrets(self, recipe: Recipe) -> set[str]:
        return self.settings.secrets() | secrets_of_arguments(recipe.arguments)

    # --- what is old ---

    async def clean(self) -> None:
        """Remove images by the rule for old builds, those of no build, and files of no image."""
        for build in await self.database.read(builds.expired, now(), keep=self._keep):
            await self._remove(build.reference)
            await self.database.write(builds.mark_removed, build.id, now())
            log.info("the image of build %d of %s was removed", build.number, build.image_slug)
        # An image was deleted with its builds. Asked first, so that none is too new to be known.
        there = await self.engine.built()
        known = await self.database.read(builds.known)
        for mark, references in there.items():
            slug, _, number = mark.rpartition(":")
            if (slug, int(number)) not in known:
                for reference in references:
                    await self._remove(reference)
        await asyncio.to_thread(
            self.files.prune, lambda: self.database.read_now(images.known_files)
        )

        await asyncio.to_thread(self._clean_scratch)

    def _clean_scratch(self) -> None:
        """Remove what builders left that were killed."""
        before = time.time() - self.settings.limits.seconds - _LEFT_SECONDS
        for folder in self.scratch.iterdir():
            with suppress(FileNotFoundError):  # a build ended meanwhile
                if folder.lstat().st_mtime < before:
                    shutil.rmtree(folder, ignore_errors=True)

    async def _remove(self, reference: str) -> None:
        if not await self.engine.remove_from_registry(reference):
            log.warning("the registry keeps %s", reference)
        await self.engine.remove(reference)

    # --- for a job ---

    def base(self, reference: str | None) -> Any:
        return self._bases.get(reference or "")

    def copy_files(self, build: Build, target: Path) -> None:
        """Lay out the files of a context. Raises `MydockerError` build-file-missing."""
        target.mkdir(mode=0o755)
        for file in build.files:
            path = target.joinpath(*file.path.split("/"))
            if ".." in path.parts or not path.is_relative_to(target):
                raise MydockerError("build-file-missing", path=file.path)
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            try:
                shutil.copyfile(self.files.path(file.sha256), path)
            except FileNotFoundError:
                raise MydockerError("build-file-missing", path=file.path) from None
            path.chmod(0o755 if file.executable else 0o644)


class _Job:
    """One build, from its recipe to its image."""

    def __init__(self, worker: Worker, build: Build, told: _Log) -> None:
        self._worker = worker
        self._engine = worker.engine
        self._build = build
        self._recipe = build.recipe
        self._told = told
        self._folder = worker.scratch

    async def run(self) -> BuiltImage:
        """The image, pushed where there is a registry. Raises `MydockerError` saying why not."""
        is_git = self._recipe.source is Source.GIT
        files = sum(file.size_bytes for file in self._build.files)
        self._worker.files.check_room(gitsource.MAX_BYTES if is_git else files)
        self._folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._worker.scratch))
        try:
            return await self._make(self._folder / "context")
        finally:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _make(self, context: Path) -> BuiltImage:
        if self._recipe.source is Source.GIT:
            text = await self._from_git(context)
        else:
            await asyncio.to_thread(self._worker.copy_files, self._build, context)
            base = self._worker.base(self._recipe.base)
            facts = await self._facts(needed=base is None or bool(self._recipe.start.strip()))
            text = dockerfile.dockerfile(self._recipe, base, self._build.files, facts=facts)
        await self._note(dockerfile=text)
        if foreign := dockerfile.foreign_frontend(text):
            command = f"# syntax={foreign}"[:200]
            raise MydockerError("build-failed", step="", command=command, words=_FOREIGN)
        slug, number = self._build.image_slug, self._build.number
        tag = self._worker.settings.setup.tag(slug, number)
        try:
            await self._engine.build(
                context,
                text,
                tag,
                self._told.line,
                scratch=self._folder,
                arguments=self._recipe.arguments,
                mark=f"{slug}:{number}",
            )
        except CommandFailed:
            raise self._failure() from None
        image = await self._engine.finished(tag)
        if not self._worker.settings.setup.registry:
            return image
        await self._worker.database.write(builds.move, self._build.id, BuildState.PUSHING, now())
        return await self._engine.push(image, self._told.line, scratch=self._folder)

    async def _from_git(self, context: Path) -> str:
        recipe = self._recipe
        settings = self._worker.settings
        self._told.line(f"Fetching {recipe.repository}")
        ca = await asyncio.to_thread(_certificates, settings.setup.settings)
        source = await gitsource.fetch(
            recipe.repository or "",
            recipe.branch,
            context,
            private_allowed=settings.may_be_private,
            ca=ca,
        )
        self._told.line(f"Commit {source.commit}")
        await self._note(git_commit=source.commit)
        if source.dockerfile:
            return source.dockerfile
        if recipe.base is None:
            raise MydockerError("repository-without-recipe", repository=recipe.repository)
        base = self._worker.base(recipe.base)
        facts = await self._facts(needed=base is None or "start" in source.found)
        return dockerfile.repository_dockerfile(
            recipe, base, source.folder, source.found, facts=facts
        )

    async def _facts(self, *, needed: bool) -> ImageFacts | None:
        """What the base image's configuration says, which is fetched where it has to be."""
        reference = self._recipe.base
        if reference is None or self._recipe.source is Source.DOCKERFILE or not needed:
            return None
        facts = await self._engine.facts(reference)
        if facts is None:
            try:
                await self._engine.pull(reference, self._told.line, scratch=self._folder)
            except CommandFailed:
                raise self._no_base(reference, self._told.last) from None
            facts = await self._engine.facts(reference)
        return facts

    def _failure(self) -> MydockerError:
        failure = dockerfile.failing_line(self._told.tail())
        if failure is None:
            return MydockerError("build-not-possible", detail=self._told.last)
        if failure.command.startswith("load metadata for "):
            reference = failure.command.removeprefix("load metadata for ")
            return self._no_base(reference.removeprefix("docker.io/"), failure.words)
        # What cannot be read as a Dockerfile has no steps.
        command = failure.command or "Dockerfile"
        return MydockerError(
            "build-failed", step=failure.step, command=command, words=failure.words
        )

    def _no_base(self, reference: str, words: str) -> MydockerError:
        return MydockerError("build-base-unavailable", image=reference, words=words[:500])

    async def _note(self, **values: Any) -> None:
        await self._worker.database.write(builds.note, self._build.id, **values)


def _certificates(folder: Path | None) -> Path | None:
    """The operators' certificates, where there are any."""
    path = folder / "ca.pem" if folder else None
    return path if path and path.is_file() and path.stat().st_size else None


class _Log:
    """The log of a build on its way into the database, without secrets. `line` is thread-safe."""

    def __init__(self, database: Database, build_id: int, redact: Callable[[str], str]) -> None:
        self._database = database
        self._build_id = build_id
        self._redact = redact
        self._waiting: deque[str] = deque()
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._full = False
        self._flushing = asyncio.Lock()

    @property
    def last(self) -> str:
        return next((line for line in reversed(self._tail) if line.strip()), "")

    def tail(self) -> str:
        return "\n".join(self._tail)

    def line(self, text: str) -> None:
        text = self._redact(text)
        self._tail.append(text)
        if not self._full:
            self._waiting.append(text)

    async def flush(self) -> None:
        async with self._flushing:
            lines = []
            while self._waiting:
                lines.append(self._waiting.popleft())
            if lines and not self._full:
                text = "\n".join(lines) + "\n"
                kept = await self._database.write(builds.append_log, self._build_id, text)
                self._full = not kept
