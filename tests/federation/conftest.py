"""A federation's key, and hubs that trust it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mydocker_hub.identity.settings import SignInSettings

from .documents import Signer


@dataclass(frozen=True)
class Site:
    """What the federation needs to know of a hub."""

    settings: SignInSettings
    state: Path
    hub_url: str = "https://hub.example.org/hub/"


MakeSite = Callable[..., Site]


@pytest.fixture(scope="session")
def federation_key(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("federation"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """Somebody whose key nobody trusts."""
    return Signer(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture
def make_site(tmp_path: Path, federation_key: Signer) -> MakeSite:
    """A hub that trusts `federation_key`; what is given goes into the federation's settings."""

    def make(metadata: dict[str, Any] | None = None, **federation: Any) -> Site:
        source = {"file": str(tmp_path / "aggregate.xml")} if metadata is None else metadata
        values = {
            **federation,
            "metadata": {"fingerprints": [federation_key.fingerprint], **source},
        }
        return Site(SignInSettings.model_validate({"federation": values}), tmp_path / "state")

    return make
