"""docs/operators/sign-in.md: its examples are right, and it names every field and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic_core import PydanticUndefined

from mydocker_hub.identity import settings

OPERATORS = Path(__file__).parent.parent / "docs" / "operators"
PAGE = (OPERATORS / "sign-in.md").read_text()

MODELS: dict[str, tuple[type[settings.Model], ...]] = {
    "The whole file": (settings.SignInSettings,),
    "`federation`": (settings.Federation,),
    "`metadata`": (settings.Metadata,),
    "`institutions`": (settings.Institution,),
    "`contacts`": (settings.Contact,),
    "`openid` and `cas`": (settings.OpenIdProvider, settings.CasProvider),
    "`claims`": (settings.ClaimNames,),
    "`claims` of a CAS server": (settings.CasClaimNames,),
    "`lti`": (settings.Lti,),
    "Roles": (settings.RoleTable,),
    "Administrators": (settings.Administrator,),
    "Support and links": (settings.Support, settings.Link),
}
"""Which heading documents which models."""


def rows(heading: str) -> dict[str, str]:
    """Field to default, of the tables between a heading and the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, heading
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", found[1], re.MULTILINE))


@pytest.mark.parametrize("heading", MODELS)
def test_fields(heading: str) -> None:
    fields = {
        name: field for model in MODELS[heading] for name, field in model.model_fields.items()
    }
    documented = rows(heading)
    assert documented.keys() == fields.keys()
    for name, field in fields.items():
        assert field.is_required() == documented[name].startswith("needed"), name
        if isinstance(field.default, bool | int):
            assert documented[name] == f"`{str(field.default).lower()}`", name
        elif isinstance(field.default, frozenset) and field.default:
            assert set(re.findall(r"`(.*?)`", documented[name])) == field.default, name
        elif isinstance(field.default, str) and field.default:
            assert documented[name] == f"`{field.default}`", name
        elif field.default is not PydanticUndefined and not field.default:
            assert "`" not in documented[name], name


def test_every_model_has_its_place() -> None:
    documented = {model for models in MODELS.values() for model in models}
    every = {
        model
        for model in vars(settings).values()
        if isinstance(model, type) and issubclass(model, settings.Model)
    }
    assert every - {settings.Model, settings.Provider} == documented


def examples() -> list[tuple[str, str]]:
    """Every whole `sign-in.yaml` of the operators' pages."""
    return [
        (f"{page.name}:{number}", text)
        for page in sorted(OPERATORS.glob("*.md"))
        for number, text in enumerate(
            re.findall(r"^```yaml\n(version: 1\n.*?)^```$", page.read_text(), re.DOTALL | re.M), 1
        )
        # catalogue files and files of base images begin the same way
        if "environments:" not in text and not text.startswith("version: 1\nimages:")
    ]


@pytest.mark.parametrize("example", examples(), ids=lambda example: str(example[0]))
def test_examples(example: tuple[str, str]) -> None:
    read = settings.SignInSettings.model_validate(yaml.safe_load(example[1]))
    assert read.federation or read.openid or read.cas or read.lti


def test_there_are_examples() -> None:
    assert {name.partition(":")[0] for name, _ in examples()} >= {"sign-in.md"}
