"""How long our own part of a sign-in by the federation takes, with 3,000 institutions loaded.

A real hub with a signed aggregate of 3,000 institutions; one of them is this process, which signs
answers as an identity provider does. For each sign-in, of a new person each time, in milliseconds:

  page      the sign-in page, with the search of institutions
  begin     choosing an institution: the signed request
  answer    the POST of the answer: verified by xmlsec1, kept for the browser
  enter     the GET after it: the account, its roles, the hub's cookies
  ours      begin, answer and enter together
  loop      the longest that a request for /hub/health waited meanwhile
"""

from __future__ import annotations

import argparse
import base64
import statistics
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import docker
import requests
import yaml
from lxml import etree

from tests.conftest import remove_all, start_hub
from tests.federation import forge
from tests.peers import aggregate, keys

HUB_ID = "bench-signin"
_READY_SECONDS = 120


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--institutions", type=int, default=3000)
    parser.add_argument("--people", type=int, default=100)


def run(options: argparse.Namespace) -> dict[str, Any]:
    engine = docker.from_env()
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures = _measure(Path(folder), options.institutions, options.people)
    finally:
        remove_all(engine, HUB_ID)
    for name, values in figures.items():
        print(f"{name:7} " + "  ".join(f"{key} {value:7.1f}" for key, value in values.items()))
    return figures


def _measure(folder: Path, institutions: int, people: int) -> dict[str, dict[str, float]]:
    idp = forge.signer(folder, "univ-bench")
    names = [
        (f"Université numéro {number}", f"University {number}") for number in range(institutions)
    ]
    own = (
        '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" '
        'xmlns:ds="http://www.w3.org/2000/09/xmldsig#" ' + idp.metadata.split(" ", 1)[1]
    )
    signed = aggregate.sign([own.encode(), *aggregate.invented(folder, names)], folder)
    settings = folder / "sign-in.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "federation": {
                    "metadata": {
                        "file": str(signed),
                        "fingerprints": [keys.fingerprint(folder / "federation.crt")],
                    }
                }
            }
        )
    )
    state = folder / "hub"
    state.mkdir()
    install = f"sign_in=Path({str(settings)!r})"
    with start_hub(state, HUB_ID, "127.0.0.1", install=install, demo=False) as hub:
        _wait_for_institutions(hub.url, institutions)
        times: dict[str, list[float]] = {"page": [], "begin": [], "answer": [], "enter": []}
        loop = _Watch(f"{hub.url}/hub/health")
        with loop:
            for number in range(people):
                for name, value in _sign_in(hub.url, idp, number).items():
                    times[name].append(value)
        times["ours"] = [
            sum(one) for one in zip(times["begin"], times["answer"], times["enter"], strict=True)
        ]
        return {
            **{name: _summary(values) for name, values in times.items()},
            "loop": {"longest": loop.longest},
        }


def _sign_in(url: str, idp: forge.Signer, number: int) -> dict[str, float]:
    times: dict[str, float] = {}

    def timed(name: str, ask: Callable[[], requests.Response]) -> requests.Response:
        began = time.perf_counter()
        answer = ask()
        times[name] = 1000 * (time.perf_counter() - began)
        return answer

    with requests.Session() as session:
        page = timed("page", lambda: session.get(f"{url}/hub/login?q=universite", timeout=60))
        page.raise_for_status()
        login = f"{url}/hub/saml/login?idp={quote(idp.entity_id, safe='')}"
        asked = timed("begin", lambda: session.get(login, allow_redirects=False, timeout=60))
        request = _request_of(asked.headers["Location"])
        answer = forge.Answer(
            issuer=idp.entity_id,
            in_response_to=request["ID"],
            attributes={
                "eduPersonPrincipalName": [f"person{number}@{idp.scope}"],
                "displayName": [f"Person {number}"],
                "eduPersonAffiliation": ["student", "member"],
            },
            id=f"_response{number}",
            assertion_id=f"_assertion{number}",
            destination=f"{url}/hub/saml/acs",
            recipient=f"{url}/hub/saml/acs",
            audience=f"{url}/hub/saml/metadata",
        )
        posted = forge.posted(forge.signed_response(replace(answer), idp.key))
        taken = timed(
            "answer",
            lambda: session.post(
                f"{url}/hub/saml/acs",
                data={"SAMLResponse": posted},
                allow_redirects=False,
                timeout=60,
            ),
        )
        assert taken.status_code == 303, taken.text
        then = url + taken.headers["Location"]
        inside = timed("enter", lambda: session.get(then, allow_redirects=False, timeout=60))
        assert inside.status_code == 303, inside.text
    return times


def _request_of(location: str) -> Any:
    """The AuthnRequest in an address (HTTP-Redirect binding: deflated, base64)."""
    sent = parse_qs(urlsplit(location).query)["SAMLRequest"][0]
    return etree.fromstring(zlib.decompress(base64.b64decode(sent), -15)).attrib


def _wait_for_institutions(url: str, institutions: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        answer = requests.get(f"{url}/hub/institutions", params={"q": ""}, timeout=10)
        if answer.ok and answer.json()["total"] > institutions:
            return
        time.sleep(0.2)
    raise AssertionError("the aggregate is not loaded")


class _Watch:
    """Asks for something trivial again and again, and keeps the longest wait."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.longest = 0.0

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with requests.Session() as session:
            while not self._stop.wait(0.02):
                began = time.perf_counter()
                session.get(self._url, timeout=60)
                self.longest = max(self.longest, 1000 * (time.perf_counter() - began))


def _summary(values: list[float]) -> dict[str, float]:
    values = sorted(values)
    return {
        "median": statistics.median(values),
        "p95": values[int(0.95 * (len(values) - 1))],
        "longest": values[-1],
    }
