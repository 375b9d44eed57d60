"""Logs without secrets."""

from __future__ import annotations

import base64
import json

import pytest

from mydocker_hub.domain.redaction import (
    HIDDEN,
    Redactor,
    secrets_of_arguments,
    secrets_of_docker_config,
    secrets_of_settings,
)


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("[global]\nindex-url = https://bot:hun%40ter2@pypi.example/simple\n", {"hun%40ter2"}),
        ("index-url = https://tok123en@pypi.example/simple", {"tok123en"}),
        ("//registry.example/:_authToken=npm_abcdef\n", {"npm_abcdef"}),
        ('Acquire::http::Proxy "http://u:pr0xy@proxy.example:3128";', {"pr0xy"}),
        ("[global]\ntimeout = 5\n", set()),
    ],
)
def test_secrets_of_settings(text: str, secrets: set[str]) -> None:
    assert secrets_of_settings(text) == secrets


def test_secrets_of_a_docker_config() -> None:
    auth = base64.b64encode(b"bot:s3cret").decode()
    config = json.dumps({"auths": {"r.example": {"auth": auth}, "q": {"password": "other"}}})
    assert secrets_of_docker_config(config) == {auth, "s3cret", "other"}
    assert secrets_of_docker_config("[]") == secrets_of_docker_config("no") == set()


def test_secrets_of_arguments() -> None:
    arguments = {"VERSION": "1.2", "API_TOKEN": "abcd", "LICENSE_KEY": "efgh", "MONKEYS": "3"}
    assert secrets_of_arguments(arguments) == {"abcd", "efgh"}


def test_a_log_without_them() -> None:
    redact = Redactor(["hun%40ter2", "abc", "first line\nsecond line"])
    assert redact("a hun%40ter2 b hun@ter2 c abc") == f"a {HIDDEN} b {HIDDEN} c abc"
    assert redact("https://me:unknown@host/x") == f"https://{HIDDEN}@host/x"
    assert redact("second line") == HIDDEN
    assert redact("mail me@example.org, see https://example.org/@x") == (
        "mail me@example.org, see https://example.org/@x"
    )
