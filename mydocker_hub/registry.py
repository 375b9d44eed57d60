"""What a registry knows of an image: the Registry HTTP API v2 (OCI distribution specification).

Whoever makes an environment names registries, so nothing that they say is believed: what they send
is bounded, is what its digest says, and where they send us is looked at like any address.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError

from .domain import reference as references
from .domain.errors import N_, Invalid, NotFound, Unavailable
from .domain.images import ImageFacts
from .domain.reference import DOCKER_HUB, Reference
from .httpclient import NotAllowed, guarded_client

CONNECT_SECONDS = 5.0
SECONDS = 10.0
SECONDS_IN_ALL = 25.0
MAX_BYTES = 4 * 1024 * 1024
"""The specification's own limit for manifests; configurations are much smaller."""

_NOWHERE = N_("it sends us to an address that cannot be right")
_MOST_REDIRECTS = 3
_MOST_TOKEN = 16_000  # characters

_INDEXES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
_MANIFESTS = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    }
)
_CONFIGURATIONS = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)
_ACCEPT = ", ".join(sorted(_INDEXES | _MANIFESTS))
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}

# Docker Hub's own names: where its API is, and what `docker login` calls it.
_DOCKER_HUB_API = "registry-1.docker.io"
_DOCKER_HUB_LOGIN = "https://index.docker.io/v1/"


# --- who may ask ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Credentials:
    """User name and password for each registry that a Docker `config.json` names."""

    accounts: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: Path) -> Credentials:
        """Read the file that `docker login` writes (`auths`).

        Raises ValueError for a file that cannot be right, OSError for one that cannot be read.
        """
        try:
            auths = json.loads(path.read_text())["auths"]
            accounts = {_place_of(name): _account(entry) for name, entry in auths.items()}
        except (KeyError, TypeError, AttributeError, ValueError):
            # Not what is in it: these are passwords.
            raise ValueError(
                f"{path} is not a Docker config.json whose auths hold user name and password of "
                "each registry: write it by `docker login` without a credential helper"
            ) from None
        return cls(accounts)

    def of(self, registry: str) -> tuple[str, str] | None:
        return self.accounts.get(registry)

    def names(self, registry: str) -> bool:
        """Whether the operators have an account at a registry."""
        return registry in self.accounts


def _place_of(name: str) -> str:
    if name == _DOCKER_HUB_LOGIN:
        return DOCKER_HUB
    place = urlsplit(name if "://" in name else f"//{name}").netloc.lower()
    return DOCKER_HUB if place == "index.docker.io" else place


def _account(entry: Mapping[str, str]) -> tuple[str, str]:
    if "auth" in entry:
        user, colon, password = base64.b64decode(entry["auth"]).decode().partition(":")
        if not colon:
            raise ValueError
        return user, password
    return entry["username"], entry["password"]


# --- asking --------------------------------------------------------------------------------------


async def facts(
    reference: str,
    *,
    credentials: Credentials | None = None,
    private_allowed: Callable[[str], bool] = lambda registry: False,
) -> ImageFacts:
    """What an image's registry says of it, for Linux on this machine's kind of processor.

    `private_allowed` says of a registry (`host[:port]`) whether it may be on this machine or on a
    private network; only a registry on this machine is asked by http. Raises `Invalid` for what is
    no reference, `NotFound` (`image-unknown`), and `Unavailable` (`registry-unavailable`) after
    25 seconds at most.
    """
    try:
        wanted = references.parse(reference)
    except ValueError as error:
        raise Invalid(problems=[("reference", str(error))]) from None
    asked = _Registry(reference, wanted, credentials or Credentials(), private_allowed)
    try:
        async with asyncio.timeout(SECONDS_IN_ALL):
            return await asked.facts()
    except TimeoutError:
        raise asked.unavailable(N_("it takes too long")) from None


class _Registry:
    """One question to one registry, with the token that it gave for it."""

    def __init__(
        self,
        text: str,
        wanted: Reference,
        credentials: Credentials,
        private_allowed: Callable[[str], bool],
    ) -> None:
        self.text = text
        self.wanted = wanted
        self.credentials = credentials
        self.private_allowed = private_allowed
        self.authorization = ""
        host = references.host_of(wanted.registry)
        self.scheme = "http" if references.is_this_machine(host) else "https"
        place = _DOCKER_HUB_API if wanted.registry == DOCKER_HUB else wanted.registry
        self.base = f"{self.scheme}://{place}/v2/{wanted.repository}"

    async def facts(self) -> ImageFacts:
        body = await self.read(f"manifests/{self.wanted.wanted}", self.wanted.digest)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        manifest = self.json(body)
        if _is_index(manifest):
            chosen = self.of_this_machine(manifest)
            manifest = self.json(await self.read(f"manifests/{chosen}", chosen))
        configuration, layers = self.parts(manifest)
        described = self.json(await self.read(f"blobs/{configuration}", configuration))
        return ImageFacts(
            reference=self.text,
            found="registry",
            digest=digest,
            size_bytes=sum(layers),
            **_of_configuration(described),
        )

    def of_this_machine(self, index: dict[str, Any]) -> str:
        """The digest of the manifest for this machine in a list; amd64 where there is none."""
        entries = index.get("manifests")
        found: dict[str, str] = {}
        for entry in entries if isinstance(entries, list) else []:
            match entry:
                case {
                    "digest": str(digest),
                    "platform": {"os": "linux", "architecture": str(architecture)},
                } if _DIGEST.fullmatch(digest):
                    found.setdefault(architecture, digest)
        here = _ARCHITECTURES.get(platform.machine(), "amd64")
        chosen = found.get(here) or found.get("amd64")
        if chosen is None:
            raise self.unavailable(N_("the image is for another kind of machine"))
        return chosen

    def parts(self, manifest: dict[str, Any]) -> tuple[str, list[int]]:
        """The digest of a manifest's configuration, and the sizes of its layers."""
        match manifest:
            case {"config": {"digest": str(digest), "mediaType": str(kind)}, "layers": [*layers]}:
                told = [layer.get("size") for layer in layers if isinstance(layer, dict)]
                sizes = [size for size in told if type(size) is int and 0 <= size < 2**50]
                whole = len(sizes) == len(told)
                if _DIGEST.fullmatch(digest) and kind in _CONFIGURATIONS and whole:
                    return digest, sizes
        raise self.unavailable(N_("what it describes is not a container image"))

    async def read(self, path: str, digest: str) -> bytes:
        """What lies below the repository, which is what `digest` says if there is one."""
        url = f"{self.base}/{path}"
        answer = await self.ask(url, self.authorization)
        if answer.code == 401 and not self.authorization:
            self.authorization = await self.authorize(answer)
            answer = await self.ask(url, self.authorization)
        for _ in range(_MOST_REDIRECTS):
            if answer.code not in {301, 302, 303, 307, 308}:
                break
            # To the storage behind the registry, most of the time: it is told no password.
            try:
                there = urljoin(url, answer.headers.get("Location", ""))
                own = urlsplit(there)[:2] == urlsplit(url)[:2]
            except ValueError:
                raise self.unavailable(_NOWHERE) from None
            answer = await self.ask(there, self.authorization if own else "")
            url = there
        if answer.code in {401, 403, 404}:
            raise NotFound("image-unknown", image=self.text, log_detail=f"HTTP {answer.code}")
        if answer.code == 429:
            raise self.unavailable(N_("it was asked too often"))
        if answer.code != 200:
            raise self.unavailable(N_("it answers with an error"), f"HTTP {answer.code}")
        if digest and digest != f"sha256:{hashlib.sha256(answer.body).hexdigest()}":
            raise self.unavailable(N_("it sent something else than what was asked for"))
        return answer.body

    # --- passwords and tokens (distribution, docs/spec/auth/token.md) ---

    async def authorize(self, refused: HTTPResponse) -> str:
        """The Authorization header that a registry asks for; "" where nobody gave us one."""
        account = self.credentials.of(self.wanted.registry)
        scheme, fields = challenge(refused.headers.get("WWW-Authenticate", ""))
        if scheme == "basic":
            return _basic(account) if account else ""
        if scheme != "bearer" or not fields.get("realm"):
            raise self.unavailable(N_("it does not say how to sign in"))
        query = {"scope": f"repository:{self.wanted.repository}:pull"}
        if "service" in fields:
            query["service"] = fields["service"]
        realm = fields["realm"]
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        answer = await self.ask(url, _basic(account) if account else "")
        if answer.code in {400, 401, 403, 404}:
            raise NotFound("image-unknown", image=self.text, log_detail="no token was given")
        if answer.code != 200:
            raise self.unavailable(N_("it answers with an error"), f"token: HTTP {answer.code}")
        given = self.json(answer.body)
        token = given.get("token") or given.get("access_token")
        # It goes into a header: no spaces, no line ends.
        if not isinstance(token, str) or not re.fullmatch(rf"[!-~]{{1,{_MOST_TOKEN}}}", token):
            raise self.unavailable(N_("it gave no token"))
        return f"Bearer {token}"

    # --- one request ---

    async def ask(self, url: str, authorization: str) -> HTTPResponse:
        """One request: no redirect is followed, and only allowed addresses are connected to."""
        place = self.check(url)
        request = HTTPRequest(
            url,
            headers={
                "Accept": _ACCEPT if "/manifests/" in url else "*/*",
                **({"Authorization": authorization} if authorization else {}),
            },
            connect_timeout=CONNECT_SECONDS,
            request_timeout=SECONDS,
            follow_redirects=False,
            decompress_response=False,  # what is small on the wire stays small here
        )
        client = guarded_client(private=self.may_be_private(place), max_bytes=MAX_BYTES)
        try:
            return await client.fetch(request, raise_error=False)
        except NotAllowed as error:
            detail = N_("its address is on this machine or on a private network")
            raise self.unavailable(detail, str(error)) from error
        except HTTPTimeoutError as error:
            raise self.unavailable(N_("it takes too long"), str(error)) from error
        except HTTPStreamClosedError as error:
            detail = N_("it closed the connection, or sent more than it should")
            raise self.unavailable(detail, str(error)) from error
        except (OSError, HTTPClientError, ValueError) as error:
            detail = N_("no connection could be made")
            raise self.unavailable(detail, f"{type(error).__name__}: {error}") from error

    def check(self, url: str) -> str:
        """The `host[:port]` of an address. Refuses one that nobody should be asked at."""
        try:
            parts = urlsplit(url)
            whole = bool(parts.hostname) and "@" not in parts.netloc and (parts.port or 1) > 0
        except ValueError:
            whole = False
        # http on this machine is asked for by the reference alone, never by what a registry says.
        schemes = {"https", self.scheme}
        if not whole or parts.scheme not in schemes or not re.fullmatch(r"[!-~]{1,8000}", url):
            raise self.unavailable(_NOWHERE)
        if parts.scheme == "http" and not references.is_this_machine(parts.hostname or ""):
            raise self.unavailable(_NOWHERE)
        return parts.netloc.lower()

    def may_be_private(self, place: str) -> bool:
        """A host that the operators named, or another port of the registry that they named."""
        registry = self.wanted.registry
        same_host = references.host_of(place) == references.host_of(registry)
        return self.private_allowed(place) or (same_host and self.private_allowed(registry))

    def json(self, body: bytes) -> dict[str, Any]:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self.unavailable(N_("its answer is not JSON"))
        return value

    def unavailable(self, detail: str, log_detail: str = "") -> Unavailable:
        return Unavailable(
            "registry-unavailable",
            image=self.text,
            registry=self.wanted.registry,
            detail=detail,
            log_detail=log_detail[:500],
        )


def _basic(account: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(account).encode()).decode()


_FIELD = re.compile(r'([a-z_]{1,40})\s*=\s*(?:"([^"\\]{0,4000})"|([^\s",]{1,4000}))', re.IGNORECASE)


def challenge(header: str) -> tuple[str, dict[str, str]]:
    """Scheme and fields of a WWW-Authenticate header with one challenge (RFC 9110 §11.6.1)."""
    scheme, _, rest = header[:16_000].strip().partition(" ")
    fields = {name.lower(): quoted or bare for name, quoted, bare in _FIELD.findall(rest)}
    return scheme.lower(), fields


# --- reading -------------------------------------------------------------------------------------


def _is_index(manifest: dict[str, Any]) -> bool:
    # OCI lets an index leave its media type out.
    return manifest.get("mediaType") in _INDEXES or (
        "mediaType" not in manifest and isinstance(manifest.get("manifests"), list)
    )


def _of_configuration(image: dict[str, Any]) -> dict[str, Any]:
    """What a configuration (OCI image-spec, config.md) says; what makes no sense is left out."""
    config = image.get("config")
    config = config if isinstance(config, dict) else {}
    health = config.get("Healthcheck")
    test = _words(health.get("Test")) if isinstance(health, dict) else ()
    return {
        "user": _word(config.get("User")),
        "ports": _ports(config.get("ExposedPorts")),
        "entrypoint": _words(config.get("Entrypoint")),
        "command": _words(config.get("Cmd")),
        "working_dir": _word(config.get("WorkingDir")),
        "has_healthcheck": bool(test) and test[0] != "NONE",
    }


def _word(value: Any) -> str:
    # A lone surrogate is valid in JSON, and nothing that could be sent on.
    return value[:8192].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _words(values: Any) -> tuple[str, ...]:
    return tuple(_word(value) for value in values[:200]) if isinstance(values, list) else ()


def _ports(exposed: Any) -> tuple[int, ...]:
    """TCP ports of `{"8888/tcp": {}}`, ascending."""
    names = list(exposed)[:200] if isinstance(exposed, dict) else []
    found = (re.fullmatch(r"([0-9]{1,5})(?:/tcp)?", name) for name in names)
    return tuple(sorted({int(match[1]) for match in found if match and 0 < int(match[1]) < 65536}))
