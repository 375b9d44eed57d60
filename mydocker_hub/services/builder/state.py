"""What the builder is told when it starts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from ...domain.errors import MydockerError
from ...domain.images import BaseImage
from ...domain.redaction import secrets_of_docker_config, secrets_of_settings
from ...domain.reference import host_of
from ...registry import Credentials
from ...store.database import Database
from ...swarm.builds import Limits, Setup


@dataclass(frozen=True)
class Settings:
    """`hubconfig` hands these over in the environment.

    `private_hosts` are names of hosts (`host` or `host:port`) that may be on a private network.
    """

    database_url: str
    files: Path
    secret: str = field(repr=False)
    host: str
    port: int
    setup: Setup
    limits: Limits = field(default_factory=Limits)
    private_hosts: frozenset[str] = frozenset()
    base_images: tuple[BaseImage, ...] = ()
    folders_kept: timedelta | None = None  # how long folders that nobody can come to are; or always
    prepare_before: timedelta = timedelta(0)  # how long before a session; 0: nothing is prepared

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Raises KeyError naming what lacks."""
        return cls(
            database_url=environ["MYDOCKER_DATABASE_URL"],
            files=Path(environ["MYDOCKER_FILES_DIR"]),
            secret=environ["MYDOCKER_BUILDER_SECRET"],
            host=environ["MYDOCKER_BUILDER_HOST"],
            port=int(environ["MYDOCKER_BUILDER_PORT"]),
            setup=Setup(
                hub=environ["MYDOCKER_HUB_ID"],
                engine=environ.get("MYDOCKER_BUILD_ENGINE", ""),
                network=environ.get("MYDOCKER_BUILD_NETWORK", ""),
                settings=_path(environ.get("MYDOCKER_BUILD_SETTINGS", "")),
                registry=environ.get("MYDOCKER_REGISTRY", ""),
                registry_auth=_path(environ.get("MYDOCKER_REGISTRY_AUTH", "")),
            ),
            limits=Limits(
                seconds=60 * float(environ.get("MYDOCKER_BUILD_MINUTES", "60")),
                image_bytes=int(1e9 * float(environ.get("MYDOCKER_BUILD_MAX_GB", "20"))),
            ),
            folders_kept=timedelta(days=int(environ["MYDOCKER_LEFT_FOLDERS_DAYS"]))
            if environ.get("MYDOCKER_LEFT_FOLDERS_DAYS")
            else None,
            prepare_before=timedelta(minutes=int(environ.get("MYDOCKER_PREPARE_MINUTES", "0"))),
            private_hosts=frozenset(environ.get("MYDOCKER_PRIVATE_HOSTS", "").split()),
        )

    def credentials(self) -> Credentials:
        """The operators' accounts at registries. Raises ValueError and OSError."""
        path = self.setup.registry_auth
        return Credentials.load(path) if path else Credentials()

    def may_be_private(self, place: str) -> bool:
        """Whether a `host[:port]` may be on a private network: ours, and those that are named."""
        own = self.setup.registry.partition("/")[0].lower()
        names = {name.lower() for name in self.private_hosts} | ({own} if own else set())
        return place.lower() in names or host_of(place.lower()) in names

    def secrets(self) -> set[str]:
        """What must not be read in a log, of all that the operators gave."""
        found: set[str] = set()
        if self.setup.settings is not None:
            for file in self.setup.settings.iterdir():
                if file.is_file() and file.suffix != ".pem":
                    found |= secrets_of_settings(file.read_text(errors="replace"))
        if self.setup.registry_auth is not None:
            found |= secrets_of_docker_config(self.setup.registry_auth.read_text())
        return found


def _path(text: str) -> Path | None:
    return Path(text) if text else None


async def wait_for_schema(database: Database) -> None:
    """Wait until the catalogue has brought the database to this release's schema."""
    while True:
        with suppress(MydockerError):
            if await asyncio.to_thread(database.is_current):
                return
        await asyncio.sleep(1)
