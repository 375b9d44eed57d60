"""`docs/operators/openid-cas.md`: what it tells operators to write is what the code takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mydocker_hub.domain.errors import CODES
from mydocker_hub.identity import cas, settings
from mydocker_hub.identity.claims import Claims

from ..conftest import ROOT

PAGE = (ROOT / "docs" / "operators" / "openid-cas.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def load(text: str, folder: Path) -> settings.SignInSettings:
    file = folder / "sign-in.yaml"
    file.write_text(text)
    return settings.load(file)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_examples(text: str, tmp_path: Path) -> None:
    loaded = load(text, tmp_path)
    assert loaded.openid or loaded.cas


def test_the_service_of_the_json_example() -> None:
    (text,) = blocks("json")
    example: dict[str, Any] = json.loads(text)
    state = "0123456789abcdef" * 2
    for path in (f"cas/ent/callback?state={state}", "logout"):
        assert re.fullmatch(example["serviceId"], f"https://hub.univ.example/hub/{path}")
    for path in ("cas/ent/callback", f"cas/ent/callback?state={state}&x", "logout/x"):
        assert not re.fullmatch(example["serviceId"], f"https://hub.univ.example/hub/{path}")


def test_the_attribute_names_of_the_cas_example(tmp_path: Path) -> None:
    """Everything that is read is named, and is read by that name."""
    (text,) = (text for text in blocks("yaml") if "\ncas:" in text)
    (provider,) = load(text, tmp_path).cas
    values = {
        name: [f"{field}@x" if "principal" in field else field]
        for field, name in provider.claims.model_dump().items()
    }
    claims: Claims = cas.claims(cas.Success("bob", values), provider)
    assert claims.model_dump() == {
        **claims.model_dump(),
        "display_name": "display_name",
        "given_name": "given_name",
        "family_name": "family_name",
        "mail": "mail",
        "institution": "institution",
        "affiliations": ("affiliations", "scoped_affiliations"),
        "primary_affiliation": "primary_affiliation",
        "values": {"eduPersonPrincipalName": "principal_name@x"},
    }


def test_codes() -> None:
    table = PAGE.partition("## What is refused")[2]
    named = set(re.findall(r"`(sign-in-[a-z-]+)`", table))
    assert named <= set(CODES)
    assert len(named) == 9
