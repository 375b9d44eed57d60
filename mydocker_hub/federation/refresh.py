"""Keeps the federation's metadata fresh, and answers what the door asks of them.

The aggregate is fetched, verified and loaded by a process of its own, which this module is the
program of: the hub neither waits for it nor grows by it. One entity (MDQ) is fetched when somebody
asks for it, and verified in a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import logging
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from tornado.httpclient import HTTPRequest
from tornado.simple_httpclient import HTTPStreamClosedError, SimpleAsyncHTTPClient

from ..domain.errors import NotFound, Refused, Unavailable
from ..identity import settings
from . import signedmetadata
from .metadata import Found, Idp, MetadataStore, may_enter
from .signedmetadata import MetadataInvalid

log = logging.getLogger("mydocker_hub.federation")

LOAD_SECONDS = 600
"""For fetching, verifying and loading an aggregate; whoever needs longer is stopped."""

_FETCH_SECONDS = 30  # for each part of an aggregate, and for one entity in all
_RETRY_SECONDS = 60
_LARGEST_ENTITY = 2 * 1024 * 1024
_UNKNOWN_SECONDS = 300
_MOST_UNKNOWN = 1000
_MOST_ASKED = 100  # names that nobody has ever had are soon made up
_AT_ONCE = 8
_MEMORY = 4 * 1024**3

T = TypeVar("T")


class Site(Protocol):
    """What the federation needs to know of this hub; `doors.base.Doors` is one.

    `hub_url` is the hub's address as people see it, with a / at its end.
    """

    @property
    def settings(self) -> settings.SignInSettings: ...
    @property
    def state(self) -> Path: ...
    @property
    def hub_url(self) -> str: ...


def folder_of(site: Site) -> Path:
    """Where our keys and the federation's metadata are."""
    return site.state / "saml"


def rules_of(site: Site) -> settings.Federation:
    rules = site.settings.federation
    if rules is None:
        raise ValueError("sign-in.yaml names no federation")
    return rules


@dataclass(frozen=True)
class Status:
    """How the metadata are, for `mydocker-hub check`; times are ISO 8601 in UTC, or empty."""

    source: str
    count: int = 0
    valid_until: str = ""
    last_success: str = ""
    last_try: str = ""
    next_try: str = ""
    error: str = ""


def read_status(folder: Path) -> Status | None:
    """The status that a hub wrote into the folder of `folder_of`; None where there is none."""
    try:
        return Status(**json.loads((folder / "status.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


class Federation:
    """The identity providers of the federation, kept fresh. One in each hub."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.rules = rules_of(site)
        self.folder = folder_of(site)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store = MetadataStore(self.folder, self.rules)
        self._task: asyncio.Task[None] | None = None
        self._pause = float(_RETRY_SECONDS)
        self._status = Status(source=self.store.source)
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._asked: dict[str, asyncio.Task[Idp]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._writing = asyncio.Lock()

    @property
    def status(self) -> Status:
        return self._status

    async def start(self) -> None:
        """Begin to refresh in the background. Raises `ValueError` without xmlsec1."""
        signedmetadata.xmlsec1()
        before = await asyncio.to_thread(read_status, self.folder)
        if before is not None and before.source == self._status.source:
            self._status = before
        if self._task is None:
            self._task = asyncio.create_task(self._refresh_for_ever())

    async def close(self) -> None:
        tasks = [task for task in (self._task, *self._asked.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None

    async def idp(self, entity_id: str) -> Idp:
        """An identity provider whose people may enter.

        Raises `NotFound`, `Refused` and, where the metadata could not be read, `Unavailable`.
        """
        if not 0 < len(entity_id) <= 1024 or not entity_id.isprintable():
            raise NotFound("sign-in-institution-unknown")
        if self.rules.metadata.mdq:
            idp = await self._by_mdq(entity_id)
        else:
            stored = await asyncio.to_thread(self.store.entity, entity_id)
            if stored is None:
                if await asyncio.to_thread(self.store.about) is None:
                    raise Unavailable("federation-unavailable", log_detail=self._status.error)
                raise NotFound("sign-in-institution-unknown", log_detail=entity_id)
            idp = stored
        if not may_enter(self.rules, idp.entity_id, idp.scopes):
            raise Refused("sign-in-institution-refused", provider=idp.name, log_detail=entity_id)
        return idp

    async def search(
        self, text: str = "", language: str = "fr", limit: int = 20, offset: int = 0
    ) -> Found:
        """A page of the institutions whose people may enter. Raises `Unavailable`."""
        found = await asyncio.to_thread(
            self.store.search, text, language, limit=limit, offset=offset
        )
        if found.total or self.rules.metadata.mdq:
            return found
        if await asyncio.to_thread(self.store.about) is None:
            raise Unavailable("federation-unavailable", log_detail=self._status.error)
        return found

    async def refresh(self) -> bool:
        """Fetch the metadata now; whether that went well. What went wrong is logged and kept."""
        mdq = self.rules.metadata.mdq is not None
        try:
            outcome = await (self._refresh_named() if mdq else self._load_in_a_process())
        except (MetadataInvalid, Unavailable, OSError, TimeoutError) as error:
            outcome = f"{error or type(error).__name__}"
            good = False
        else:
            good = True
        about = await asyncio.to_thread(self.store.about)
        now = _now()
        self._pause = self._wait(good)
        self._status = Status(
            source=self.store.source,
            count=about.count if about else 0,
            valid_until=_text(about.valid_until) if about and not mdq else "",
            last_success=_text(now) if good else self._status.last_success,
            last_try=_text(now),
            next_try=_text(now + timedelta(seconds=self._pause)),
            error="" if good else outcome,
        )
        await asyncio.to_thread(self._write_status)
        if good:
            log.info("federation: %s", outcome)
        elif about is not None:
            log.warning(
                "federation: the metadata could not be refreshed: %s. "
                "The copy of %s stays in use until %s",
                outcome,
                _text(about.loaded_at),
                _text(about.valid_until),
            )
        else:
            log.error(
                "federation: the metadata could not be read: %s. "
                "Nobody can sign in through the federation until they can",
                outcome,
            )
        return good

    async def _refresh_for_ever(self) -> None:
        while True:
            try:
                await self.refresh()
            except Exception:
                log.exception("federation: the metadata could not be refreshed")
            await asyncio.sleep(self._pause)

    def _wait(self, good: bool) -> float:
        seconds = self.rules.metadata.refresh_seconds
        wait = seconds if good else min(_RETRY_SECONDS, seconds)
        # not all hubs at once, when a federation's server comes back
        return wait * random.uniform(0.9, 1.1)  # noqa: S311

    def _write_status(self) -> None:
        _replace(self.folder / "status.json", json.dumps(asdict(self._status), indent=1))

    # --- an aggregate -----------------------------------------------------------------------------

    async def _load_in_a_process(self) -> str:
        """What was done, in words. Raises `MetadataInvalid` and `TimeoutError`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", __name__),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        job = json.dumps(
            {"folder": str(self.folder), "federation": self.rules.model_dump(mode="json")}
        )
        try:
            answer, errors = await asyncio.wait_for(process.communicate(job.encode()), LOAD_SECONDS)
        except TimeoutError:
            raise MetadataInvalid(f"it took longer than {LOAD_SECONDS} seconds") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        try:
            result = json.loads(answer)
        except ValueError:
            detail = errors.decode(errors="replace").strip()[-500:]
            raise MetadataInvalid(
                f"the process that loads them ended with {process.returncode}: {detail}"
            ) from None
        if result["error"]:
            raise MetadataInvalid(result["error"])
        return str(result["done"])

    # --- one entity (MDQ) -------------------------------------------------------------------------

    async def _refresh_named(self) -> str:
        """Ask for the institutions that the configuration names; the others come when asked for."""
        names = [one.entity_id for one in self.rules.institutions if one.entity_id and one.allow]
        errors = []
        for entity_id in names:
            try:
                await self._by_mdq(entity_id)
            except NotFound:
                errors.append(f"{entity_id} is not known to {self.rules.metadata.mdq}")
            except Unavailable as error:
                errors.append(f"{entity_id}: {error.log_detail}")
        if errors:
            raise MetadataInvalid("; ".join(errors)[:1000])
        return f"{len(names)} institutions of the configuration are known by MDQ"

    async def _by_mdq(self, entity_id: str) -> Idp:
        stored = await asyncio.to_thread(self.store.entity, entity_id)
        if stored is not None and stored.fresh_until > _now():
            return stored
        if not self._may_be_asked_for(entity_id):
            raise Refused("sign-in-institution-refused", provider=entity_id, log_detail=entity_id)
        if self._unknown.get(entity_id, 0) > time.monotonic():
            raise NotFound("sign-in-institution-unknown", log_detail=entity_id)
        if entity_id not in self._asked:  # many who come at once ask once
            if len(self._asked) >= _MOST_ASKED:
                raise Unavailable("federation-unavailable", log_detail="too many are asked for")
            task = asyncio.create_task(self._ask(entity_id))
            self._asked[entity_id] = task
            task.add_done_callback(lambda _: self._asked.pop(entity_id, None))
        try:
            return await asyncio.shield(self._asked[entity_id])
        except Unavailable as error:
            if stored is None:
                raise
            log.warning(
                "federation: %s could not be refreshed: %s. The copy in use stays until %s",
                entity_id,
                error.log_detail,
                _text(stored.valid_until),
            )
            return stored

    def _may_be_asked_for(self, entity_id: str) -> bool:
        """Whether somebody of it might enter, as far as its name says; its scopes may be needed."""
        by_scope = any(one.scope and one.allow for one in self.rules.institutions)
        named = {one.entity_id: one.allow for one in self.rules.institutions if one.entity_id}
        return named.get(entity_id, self.rules.others_may_enter or by_scope)

    async def _ask(self, entity_id: str) -> Idp:
        try:
            async with self._slots:
                status, body = await self._fetch(mdq_url(self.rules.metadata.mdq or "", entity_id))
                if status == 404:
                    await self._locked(self.store.forget, entity_id)
                    self._remember_unknown(entity_id)
                    raise NotFound("sign-in-institution-unknown", log_detail=entity_id)
                if status != 200:
                    raise OSError(f"its address answers {status}")
                idp = await self._locked(self._learn, entity_id, body)
        except (MetadataInvalid, OSError, TimeoutError) as error:
            detail = f"{error or type(error).__name__}"
            log.warning("federation: the metadata of %s are not taken: %s", entity_id, detail)
            raise Unavailable("federation-unavailable", log_detail=detail) from None
        log.info("federation: the metadata of %s were read", entity_id)
        return idp

    async def _fetch(self, url: str) -> tuple[int, bytes]:
        # a client of its own: the others have no limit as low
        client = SimpleAsyncHTTPClient(
            force_instance=True, max_buffer_size=_LARGEST_ENTITY, max_clients=1
        )
        try:
            response = await client.fetch(
                HTTPRequest(
                    url,
                    headers={"Accept": "application/samlmetadata+xml"},
                    connect_timeout=10,
                    request_timeout=_FETCH_SECONDS,
                    max_redirects=3,
                    user_agent="mydocker_hub",
                ),
                raise_error=False,
            )
        except OSError:
            raise
        except HTTPStreamClosedError:
            raise OSError("the connection was closed, or the answer is too large") from None
        except Exception as error:  # tornado's own, of several kinds
            raise OSError(f"{type(error).__name__}: {error}") from None
        finally:
            client.close()
        if response.code == 599:
            raise OSError(str(response.error or "no answer"))
        return response.code, response.body

    def _learn(self, entity_id: str, body: bytes) -> Idp:
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".xml") as file:
            file.write(body)
            file.flush()
            return self.store.learn(
                Path(file.name),
                entity_id,
                fresh_seconds=self.rules.metadata.refresh_seconds,
            )

    async def _locked(self, work: Callable[..., T], *values: Any) -> T:
        async with self._writing:
            return await asyncio.to_thread(work, *values)

    def _remember_unknown(self, entity_id: str) -> None:
        self._unknown[entity_id] = time.monotonic() + _UNKNOWN_SECONDS
        self._unknown.move_to_end(entity_id)
        while len(self._unknown) > _MOST_UNKNOWN:
            self._unknown.popitem(last=False)


def mdq_url(base: str, entity_id: str) -> str:
    """Where a metadata query server answers for an entity (draft-young-md-query §3).

    `{sha1}` in the base stands for the digest of the name, for servers of plain files.
    """
    if "{sha1}" in base:
        digest = hashlib.sha1(entity_id.encode(), usedforsecurity=False).hexdigest()
        return base.replace("{sha1}", digest)
    base = base.rstrip("/")
    if not base.endswith("/entities"):
        base += "/entities"
    return f"{base}/{quote(entity_id, safe='')}"


# --- the process that loads an aggregate ---------------------------------------------------------


def load_aggregate(folder: Path, rules: settings.Federation) -> str:
    """Fetch, verify and load; what was done, in words. Raises `MetadataInvalid`, `OSError`."""
    store = MetadataStore(folder, rules)
    about = store.about()
    note = folder / "fetched.json"
    validators = _read_note(note, store.source) if about is not None else {}
    handle, name = tempfile.mkstemp(prefix="aggregate-", suffix=".xml", dir=folder)
    file = Path(name)
    try:
        with os.fdopen(handle, "wb") as content:
            if rules.metadata.url:
                fetched = _fetch_to(content, rules.metadata.url, validators)
            elif rules.metadata.file:
                fetched = _copy_to(content, rules.metadata.file, validators)
            else:
                raise MetadataInvalid("the configuration names no aggregate")
        if fetched is None and about is not None:
            return f"unchanged: {about.count} institutions, valid until {_text(about.valid_until)}"
        about = store.load(file)
        _replace(note, json.dumps({"source": store.source, **(fetched or {})}))
    finally:
        file.unlink(missing_ok=True)
    return f"{about.count} institutions were read, valid until {_text(about.valid_until)}"


def _fetch_to(content: Any, url: str, validators: dict[str, str]) -> dict[str, str] | None:
    """Fetch into a file; what to ask with next time, or None where nothing has changed."""
    request = urllib.request.Request(  # noqa: S310 - settings.Url is http or https
        url, headers={"User-Agent": "mydocker_hub"}
    )
    if etag := validators.get("etag"):
        request.add_header("If-None-Match", etag)
    elif modified := validators.get("last_modified"):
        request.add_header("If-Modified-Since", modified)
    size = 0
    try:
        with urllib.request.urlopen(request, timeout=_FETCH_SECONDS) as answer:  # noqa: S310
            while part := answer.read(1024 * 1024):
                size += len(part)
                if size > signedmetadata.MOST_BYTES:
                    raise MetadataInvalid(
                        f"it has more than {signedmetadata.MOST_BYTES // 1024 // 1024} MB"
                    )
                content.write(part)
            length = answer.headers.get("Content-Length")
            if length and length.isdecimal() and int(length) != size:
                raise MetadataInvalid("it came only in part")
            return {
                "etag": answer.headers.get("ETag") or "",
                "last_modified": answer.headers.get("Last-Modified") or "",
            }
    except urllib.error.HTTPError as error:
        if error.code == 304 and validators:
            return None
        raise MetadataInvalid(f"its address answers {error.code}") from None
    except urllib.error.URLError as error:
        raise MetadataInvalid(f"its address does not answer: {error.reason}") from None
    except http.client.HTTPException as error:
        raise MetadataInvalid(f"it came only in part: {type(error).__name__}") from None


def _copy_to(content: Any, file: Path, validators: dict[str, str]) -> dict[str, str] | None:
    """Copy, so that nobody changes it between verifying and reading."""
    with file.open("rb") as source:
        state = os.fstat(source.fileno())
        now = {"mtime": f"{state.st_mtime_ns} {state.st_size}"}
        if validators == now:
            return None
        if state.st_size > signedmetadata.MOST_BYTES:
            raise MetadataInvalid(
                f"it has more than {signedmetadata.MOST_BYTES // 1024 // 1024} MB"
            )
        shutil.copyfileobj(source, content, 1024 * 1024)
    return now


def _read_note(note: Path, source: str) -> dict[str, str]:
    try:
        values = json.loads(note.read_text())
        return values if values.pop("source") == source else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _replace(file: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f"{file.name}-", dir=file.parent)
    with os.fdopen(handle, "w") as content:
        content.write(text)
    Path(name).replace(file)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _now() -> datetime:
    return datetime.now(UTC)


def main() -> None:
    """Read one job on standard input, do it, answer on standard output."""
    os.nice(5)  # people who wait for a page go first
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (LOAD_SECONDS, LOAD_SECONDS))
    job = json.load(sys.stdin)
    rules = settings.Federation.model_validate(job["federation"])
    done = error = ""
    try:
        done = load_aggregate(Path(job["folder"]), rules)
    except (MetadataInvalid, OSError, MemoryError) as problem:
        error = str(problem) or type(problem).__name__
    json.dump({"done": done, "error": error}, sys.stdout)


if __name__ == "__main__":
    main()
