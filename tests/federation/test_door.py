"""The door in a real hub, with SimpleSAMLphp as institutions; the catalogue is a stand-in."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from lxml import etree
from tornado.httpserver import HTTPServer
from tornado.httputil import url_concat
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from traitlets.config import Config

from mydocker_hub.domain.errors import Refused
from mydocker_hub.doors import page, saml
from mydocker_hub.doors.attempts import Attempts, Tickets
from mydocker_hub.doors.base import Doors
from mydocker_hub.federation import sp
from mydocker_hub.federation.metadata import MetadataStore
from mydocker_hub.federation.refresh import folder_of, rules_of
from mydocker_hub.identity.claims import SignIn, Standing
from mydocker_hub.identity.settings import SignInSettings
from mydocker_hub.share import share_path

from ..conftest import free_ports
from ..peers import llng
from ..peers.forms import Form, form
from ..peers.keys import fingerprint, key_pair
from ..peers.ssp import Peer, log_in, start_idp
from . import forge

pytestmark = pytest.mark.peers

BROWSERS = ThreadPoolExecutor(60)
T = TypeVar("T")


@dataclass
class Catalogue:
    """What the hub asks of the catalogue at a sign-in."""

    sign_ins: list[SignIn] = field(default_factory=list)
    refusals: list[dict[str, str]] = field(default_factory=list)

    async def sign_in(self, sign_in: SignIn) -> Standing:
        keys = {one.key for earlier in self.sign_ins for one in earlier.spent}
        if keys & {one.key for one in sign_in.spent}:
            raise Refused("sign-in-replayed")
        self.sign_ins.append(sign_in)
        name = sign_in.claims.identifiers[0][1].partition("@")[0]
        return Standing(name=name, roles=frozenset({sign_in.role}))

    async def refused(self, **said: str) -> None:
        self.refusals.append(said)


class DoorAuthenticator(Authenticator):
    allow_all = True

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        made: Doors = app.config.made["doors"]
        app.tornado_settings["mydocker_doors"] = made
        app.tornado_settings["mydocker_catalogue"] = app.config.made["catalogue"]
        saml.start(made)
        return [*page.HANDLERS, *saml.HANDLERS]

    async def authenticate(self, handler: Any, data: dict[str, Any]) -> str:
        standing = await handler.catalogue.sign_in(data["sign_in"])
        return str(standing.name)


@dataclass
class Hub:
    url: str
    doors: Doors
    catalogue: Catalogue

    async def in_a_thread(self, function: Callable[..., T], *given: Any, **more: Any) -> T:
        """Not in those of asyncio, which the hub needs while browsers wait for it."""
        call = partial(function, *given, **more)
        return await asyncio.get_running_loop().run_in_executor(BROWSERS, call)

    async def get(self, session: requests.Session, path: str, **more: Any) -> requests.Response:
        return await self.in_a_thread(
            session.get, f"{self.url}{path}", allow_redirects=False, timeout=30, **more
        )

    async def begin(self, session: requests.Session, idp: str, **more: str) -> str:
        """The address of the request that a browser is sent on with."""
        page = await self.get(session, "saml/login", params={"idp": idp, **more})
        assert page.status_code == 303, page.text
        return page.headers["Location"]

    async def post(
        self, session: requests.Session, answer: Form | dict[str, str]
    ) -> requests.Response:
        fields = answer.fields if isinstance(answer, Form) else answer
        return await self.in_a_thread(
            session.post,
            f"{self.url}saml/acs",
            data=fields,
            allow_redirects=False,
            timeout=30,
        )

    async def take_up(
        self, session: requests.Session, posted: requests.Response
    ) -> requests.Response:
        assert posted.status_code == 303, posted.text
        place = posted.headers["Location"]
        return await self.get(session, place.removeprefix("/hub/"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("door")


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def sp_metadata(folder: Path, port: int) -> Path:
    """The metadata of the hub, which its institutions read."""
    file = folder / "sp-metadata.xml"
    file.write_bytes(sp.own_metadata(doors_of(folder, port, [])))
    return file


@pytest.fixture(scope="module")
def peers(folder: Path, sp_metadata: Path) -> Iterator[tuple[Peer, Peer]]:
    with (
        start_idp(folder, "univ-a", sp_metadata=sp_metadata) as univ_a,
        start_idp(folder, "univ-b", sp_metadata=sp_metadata, IDP_ENCRYPT="1") as univ_b,
    ):
        yield univ_a, univ_b


def doors_of(folder: Path, port: int, described: list[bytes], **federation: Any) -> Doors:
    """The doors of a hub whose federation has these EntityDescriptors."""
    key, certificate = key_pair(folder, "federation")
    file = folder / "federation.xml"
    trees = [etree.tostring(etree.fromstring(one), encoding="unicode") for one in described]
    file.write_text(forge.signed_federation(trees, key))
    settings = SignInSettings.model_validate(
        {
            "federation": {
                "metadata": {
                    "file": file,
                    "fingerprints": [fingerprint(certificate)],
                    "certificate_file": certificate,
                },
                **federation,
            }
        }
    )
    return Doors(
        settings=settings,
        secret="a secret of the test",
        state=folder / "state",
        public_url=f"http://127.0.0.1:{port}",
        hub_url=f"http://127.0.0.1:{port}/hub/",
        attempts=Attempts("a secret of the test"),
        tickets=Tickets(),
        questions=Tickets(),
    )


@pytest.fixture
async def make_hub(folder: Path, port: int, peers: tuple[Peer, ...]) -> AsyncIterator[Any]:
    """Starts a hub in this process; `more` are further EntityDescriptors of its federation."""
    closing = []

    async def make(*more: bytes, **federation: Any) -> Hub:
        described = [*(peer.metadata for peer in peers), *more]
        doors = doors_of(folder, port, described, **federation)
        store = MetadataStore(folder_of(doors), rules_of(doors))
        store.load(folder / "federation.xml")
        catalogue = Catalogue()
        config = Config()
        config.made = {"doors": doors, "catalogue": catalogue}
        config.JupyterHub.authenticator_class = DoorAuthenticator
        config.JupyterHub.db_url = "sqlite:///:memory:"
        config.JupyterHub.cookie_secret = bytes(32)
        config.JupyterHub.template_paths = [str(share_path("templates") / "hub")]
        config.JupyterHub.jinja_environment_options = {
            "extensions": ["mydocker_hub.web.hubi18n.HubTranslations"]
        }
        config.JupyterHub.template_vars = {"catalogue_url": "/services/catalogue/"}
        config.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
        config.ConfigurableHTTPProxy.auth_token = "unused"
        JupyterHub.clear_instance()
        app = JupyterHub.instance(config=config)
        empty = folder / "jupyterhub_config.py"
        empty.touch()
        await app.initialize(["-f", str(empty)])
        server = HTTPServer(app.tornado_application)
        server.listen(port, "127.0.0.1")
        closing.append((server, doors))
        return Hub(doors.hub_url, doors, catalogue)

    yield make
    for server, doors in closing:
        server.stop()
        await server.close_all_connections()
        kept = doors.extras["saml"]
        kept.responses.close()
        await doors.federation.close()
    JupyterHub.clear_instance()


async def sign_in(hub: Hub, session: requests.Session, peer: Peer, user: str, **more: str) -> Form:
    url = await hub.begin(session, peer.entity_id, **more)
    return await asyncio.to_thread(log_in, session, url, user)


def code_of(page: requests.Response) -> str:
    """The code on a page that refuses."""
    found = re.search(r"(?:sign-in|federation|bad|too|not)-[a-z-]+(?=<)", page.text)
    assert found, page.text
    assert "Traceback" not in page.text
    return found.group()


@contextmanager
def listening() -> Iterator[StringIO]:
    """What a started hub logs, its libraries too; not what the browser's library does."""
    text = StringIO()
    handler = logging.StreamHandler(text)
    loggers = [logging.getLogger(name) for name in ("JupyterHub", "mydocker_hub", "saml2")]
    levels = [logger.level for logger in loggers]
    for logger in loggers[:2]:
        logger.setLevel(logging.DEBUG)
    for logger in loggers:
        logger.addHandler(handler)
    yield text
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


async def test_in_through_the_door(make_hub: Any, peers: tuple[Peer, Peer]) -> None:
    hub = await make_hub()
    with listening() as hub_log:
        await in_through_the_door(hub, peers, hub_log)


async def in_through_the_door(hub: Hub, peers: tuple[Peer, Peer], hub_log: StringIO) -> None:
    for peer, user, scope in ((peers[0], "alice", "univ-a"), (peers[1], "bob", "univ-b")):
        session = requests.Session()
        answer = await sign_in(hub, session, peer, user, next="/hub/home")
        assert answer.action == f"{hub.url}saml/acs"
        posted = await hub.post(session, answer)
        done = await hub.take_up(session, posted)
        assert done.status_code == 303
        assert done.headers["Location"] == "/hub/home"
        assert "jupyterhub-hub-login" in session.cookies
        signed_in = hub.catalogue.sign_ins[-1]
        assert signed_in.claims.issuer == peer.entity_id
        assert f"{user}@{scope}.example" in dict(signed_in.claims.identifiers).values()
        assert {one.key.partition(":")[0] for one in signed_in.spent} == {"attempt", "assertion"}
        ticket = posted.headers["Location"].partition("ticket=")[2]
        assert f"{peer.entity_id} answered; its clock is" in hub_log.getvalue()
        assert "/hub/saml/done" in hub_log.getvalue()
        for secret in (ticket, answer.fields["SAMLResponse"][:60], f"{user}@{scope}", "<saml"):
            assert secret not in hub_log.getvalue()
    assert hub.catalogue.refusals == []


async def test_not_in_another_browser(make_hub: Any, peers: tuple[Peer, Peer]) -> None:
    """Somebody's own answer, sent by somebody else's browser (login CSRF)."""
    hub = await make_hub()
    attacker, victim = requests.Session(), requests.Session()
    answer = await sign_in(hub, attacker, peers[0], "bob")
    await sign_in(hub, victim, peers[0], "alice")  # with a sign-in of their own under way
    done = await hub.take_up(victim, await hub.post(victim, answer))
    assert (done.status_code, code_of(done)) == (403, "sign-in-other-browser")
    assert "jupyterhub-hub-login" not in victim.cookies
    # in its own browser it is good
    assert (await hub.take_up(attacker, await hub.post(attacker, answer))).status_code == 303
    await asyncio.sleep(0)
    assert [one["code"] for one in hub.catalogue.refusals] == ["sign-in-other-browser"]


async def test_once(make_hub: Any, peers: tuple[Peer, Peer]) -> None:
    hub = await make_hub()
    session = requests.Session()
    answer = await sign_in(hub, session, peers[0], "alice")
    cookies = session.cookies.copy()
    posted = await hub.post(session, answer)
    assert (await hub.take_up(session, posted)).status_code == 303
    # the same ticket, the same answer, and the same answer with the cookie brought back
    again = await hub.take_up(session, posted)
    assert code_of(again) == "sign-in-expired"
    again = await hub.take_up(session, await hub.post(session, answer))
    assert code_of(again) == "sign-in-other-browser"
    session.cookies = cookies
    again = await hub.take_up(session, await hub.post(session, answer))
    assert code_of(again) == "sign-in-replayed"
    assert len(hub.catalogue.sign_ins) == 1


async def test_an_answer_sent_again_and_again_has_one_ticket(
    make_hub: Any, peers: tuple[Peer, Peer]
) -> None:
    hub = await make_hub()
    session, other = requests.Session(), requests.Session()
    answer = await sign_in(hub, session, peers[0], "alice")
    posted = await hub.post(session, answer)
    assert "ticket=" in posted.headers["Location"]
    for browser in (session, other):
        again = await hub.post(browser, answer)
        assert again.headers["Location"] == posted.headers["Location"]
    elsewhere = await hub.post(other, await sign_in(hub, other, peers[0], "alice"))
    assert elsewhere.headers["Location"] != posted.headers["Location"]
    # another browser does not use up what they share
    assert code_of(await hub.take_up(other, posted)) == "sign-in-other-browser"
    assert (await hub.take_up(session, posted)).status_code == 303


async def test_a_ticket_of_another_door(make_hub: Any) -> None:
    hub = await make_hub()
    ticket = hub.doors.tickets.keep("what another door verified")
    refused = await hub.get(requests.Session(), f"saml/done?ticket={ticket}")
    assert code_of(refused) == "sign-in-expired"


async def test_another_institution_answers(make_hub: Any, peers: tuple[Peer, Peer]) -> None:
    """Asked univ-a, answered by univ-b: an honest member of univ-b's must not choose for others."""
    hub = await make_hub()
    session = requests.Session()
    url = await hub.begin(session, peers[0].entity_id)
    elsewhere = url.replace(peers[0].url, peers[1].url)
    assert elsewhere != url
    answer = await asyncio.to_thread(log_in, session, elsewhere, "bob")
    done = await hub.take_up(session, await hub.post(session, answer))
    assert (done.status_code, code_of(done)) == (400, "sign-in-message-invalid")
    assert hub.catalogue.sign_ins == []


async def test_relay_state_leads_nowhere(make_hub: Any, peers: tuple[Peer, Peer]) -> None:
    hub = await make_hub()
    for next_url in ("https://evil.example/", "//evil.example", "/\\evil.example", ""):
        session = requests.Session()
        answer = await sign_in(hub, session, peers[0], "alice", next=next_url)
        fields = {**answer.fields, "RelayState": "https://evil.example/"}
        done = await hub.take_up(session, await hub.post(session, fields))
        assert done.status_code == 303
        place = urlsplit(urljoin(hub.url, done.headers["Location"]))
        assert place.netloc == urlsplit(hub.url).netloc


async def test_refusals_in_words(make_hub: Any, peers: tuple[Peer, Peer]) -> None:
    hub = await make_hub()
    for user, code, words in (
        ("nobody", "sign-in-no-identifier", "pairwise-id"),
        ("mallory", "sign-in-foreign-scope", "not its own"),
    ):
        session = requests.Session()
        session.headers["Accept-Language"] = "en"
        refused = await hub.post(session, await sign_in(hub, session, peers[0], user))
        assert refused.status_code == 403
        assert code_of(refused) == code
        assert words in refused.text
        assert refused.headers["Cache-Control"] == "no-store"
    assert [one["code"] for one in hub.catalogue.refusals] == [
        "sign-in-no-identifier",
        "sign-in-foreign-scope",
    ]
    assert "mallory" not in json.dumps(hub.catalogue.refusals)


async def test_what_is_no_answer(make_hub: Any, peers: tuple[Peer, Peer]) -> None:
    hub = await make_hub()
    session = requests.Session()
    answer = await sign_in(hub, session, peers[0], "alice")
    for fields, status, code in (
        ({}, 400, "bad-request"),
        ({"SAMLResponse": ""}, 400, "sign-in-message-invalid"),
        ({"SAMLResponse": "PHg+"}, 400, "sign-in-message-invalid"),
        ({"SAMLResponse": "A" * 900_000}, 400, "sign-in-message-invalid"),
        ({"SAMLResponse": "A" * 2_000_000}, 413, "too-large"),
        ({f"x{n}": "" for n in range(20)}, 400, "bad-request"),
    ):
        refused = await hub.post(session, fields)
        assert (refused.status_code, code_of(refused)) == (status, code)
    # loaded again, or come by a bookmark
    loaded = await hub.get(session, "saml/acs")
    assert code_of(loaded) == "sign-in-expired"
    assert (await hub.take_up(session, await hub.post(session, answer))).status_code == 303


async def test_who_is_not_on_the_list(make_hub: Any, peers: tuple[Peer, Peer]) -> None:
    hub = await make_hub(institutions=[{"entity_id": peers[1].entity_id, "allow": False}])
    session = requests.Session()
    assert await hub.begin(session, peers[0].entity_id)
    for idp, code in (
        ("https://idp.evil.example/", "sign-in-institution-unknown"),
        (peers[1].entity_id, "sign-in-institution-refused"),
        ("x" * 5000, "sign-in-institution-unknown"),
    ):
        for path in ("saml/login?idp=", "saml/disco?entityID="):
            refused = await hub.get(session, f"{path}{requests.utils.quote(idp, safe='')}")
            assert code_of(refused) == code


async def test_discovery_service(make_hub: Any, peers: tuple[Peer, Peer]) -> None:
    service = "https://discovery.example.org/ds?filter=x"
    hub = await make_hub(discovery_service=service)
    session = requests.Session()
    sent = await hub.get(session, "saml/login", params={"next": "/hub/home"})
    assert sent.status_code == 303
    place = urlsplit(sent.headers["Location"])
    asked = parse_qs(place.query)
    assert place.netloc == "discovery.example.org"
    assert asked["filter"] == ["x"]
    assert asked["entityID"] == [f"{hub.url}saml/metadata"]
    assert asked["returnIDParam"] == ["entityID"]
    back = asked["return"][0]
    assert back.startswith(f"{hub.url}saml/disco?")
    path = f"{back.removeprefix(hub.url)}&entityID={peers[0].entity_id}"
    # not in another browser
    other = await hub.get(requests.Session(), path)
    assert code_of(other) == "sign-in-other-browser"
    chosen = await hub.get(session, path)
    assert chosen.status_code == 303
    assert chosen.headers["Location"].startswith(peers[0].url)
    answer = await asyncio.to_thread(log_in, session, chosen.headers["Location"], "alice")
    done = await hub.take_up(session, await hub.post(session, answer))
    assert done.headers["Location"] == "/hub/home"
    # nothing was chosen
    assert code_of(await hub.get(session, "saml/disco")) == "sign-in-institution-unknown"
    # a sign-in that is under way is not one that chooses
    url = await hub.begin(session, peers[0].entity_id)
    assert url
    name = next(c.name for c in session.cookies if c.name.startswith("mydocker-sign-in-"))
    attempt = name.removeprefix("mydocker-sign-in-")
    crossed = await hub.get(session, f"saml/disco?attempt={attempt}&entityID={peers[1].entity_id}")
    assert code_of(crossed) == "sign-in-other-browser"


async def test_without_a_choice_to_the_sign_in_page(make_hub: Any) -> None:
    hub = await make_hub()
    sent = await hub.get(requests.Session(), "saml/login", params={"next": "/hub/home"})
    assert sent.headers["Location"] == "/hub/login?next=%2Fhub%2Fhome"


async def test_metadata_and_institutions(make_hub: Any, peers: tuple[Peer, Peer]) -> None:
    hub = await make_hub()
    session = requests.Session()
    metadata = await hub.get(session, "saml/metadata")
    assert metadata.headers["Content-Type"] == "application/samlmetadata+xml"
    assert etree.fromstring(metadata.content).get("entityID") == f"{hub.url}saml/metadata"
    listed = await hub.get(session, "institutions")
    found = listed.json()
    assert found["total"] == 2
    assert {one["entity_id"] for one in found["items"]} == {one.entity_id for one in peers}
    assert set(found["items"][0]["name"]) == {"fr", "en"}
    assert listed.headers["Cache-Control"] == "private, max-age=60"
    searched = (await hub.get(session, "institutions?q=univ-b")).json()
    assert [one["entity_id"] for one in searched["items"]] == [peers[1].entity_id]
    assert (await hub.get(session, "institutions?q=nothing+at+all")).json()["total"] == 0
    assert (await hub.get(session, "institutions?offset=1")).json()["total"] == 2
    assert len((await hub.get(session, "institutions?offset=1")).json()["items"]) == 1
    for bad in ("offset=-1", "offset=x", "offset=9999999999"):
        assert (await hub.get(session, f"institutions?{bad}")).status_code == 400


async def test_a_class_begins_at_once(make_hub: Any, peers: tuple[Peer, Peer]) -> None:
    """Each gets an attempt of their own."""
    hub = await make_hub()
    client = SimpleAsyncHTTPClient(force_instance=True, max_clients=300)
    address = url_concat(f"{hub.url}saml/login", {"idp": peers[0].entity_id})
    answers = await asyncio.gather(
        *(
            client.fetch(address, follow_redirects=False, raise_error=False, request_timeout=60)
            for _ in range(300)
        )
    )
    client.close()
    assert [one.code for one in answers] == [303] * 300
    asked = {parse_qs(urlsplit(one.headers["Location"]).query)["SAMLRequest"][0] for one in answers}
    assert len(asked) == 300


@pytest.mark.parametrize(
    ("minutes", "code"),
    [(1.5, ""), (-1.5, ""), (10, "sign-in-clock"), (-10, "sign-in-clock")],
)
async def test_clocks(
    minutes: float, code: str, make_hub: Any, folder: Path, sp_metadata: Path
) -> None:
    with start_idp(
        folder, "late", sp_metadata=sp_metadata, clock_offset=timedelta(minutes=minutes)
    ) as peer:
        hub = await make_hub(peer.metadata)
        session = requests.Session()
        session.headers["Accept-Language"] = "en"
        posted = await hub.post(session, await sign_in(hub, session, peer, "alice"))
    if code:
        assert code_of(posted) == code
        assert re.search(r"differ by (?:9|10) minutes", posted.text)
        assert "not your computer" in html.unescape(posted.text)
    else:
        assert (await hub.take_up(session, posted)).status_code == 303


@pytest.mark.parametrize("encrypted", [False, True])
async def test_lemonldap(encrypted: bool, make_hub: Any, folder: Path, sp_metadata: Path) -> None:
    """A second opinion: Perl and Lasso, which share no code with the other one."""
    more = {"LLNG_ENCRYPT": "assertion"} if encrypted else {}
    with llng.start_llng(folder, sp_metadata=sp_metadata, **more) as portal:
        hub = await make_hub(with_scope(portal.metadata, "univ-llng.example"))
        session = requests.Session()
        url = await hub.begin(session, portal.entity_id)
        page = await hub.in_a_thread(llng.log_in, session, url, "dwho")
        answer = form(page, having="SAMLResponse")
        assert (
            b"EncryptedAssertion" in base64.b64decode(answer.fields["SAMLResponse"])
        ) is encrypted
        done = await hub.take_up(session, await hub.post(session, answer))
    assert done.status_code == 303
    claims = hub.catalogue.sign_ins[0].claims
    assert claims.identifiers[0][1] == "dwho@univ-llng.example"


def with_scope(metadata: bytes, scope: str) -> bytes:
    """As a federation publishes it: with the scope that it has checked."""
    root = etree.fromstring(metadata)
    role = root.find("{*}IDPSSODescriptor")
    extensions = role.find("{*}Extensions")
    if extensions is None:
        extensions = etree.Element(f"{{{etree.QName(role).namespace}}}Extensions")
        role.insert(0, extensions)
    etree.SubElement(extensions, "{urn:mace:shibboleth:metadata:1.0}Scope").text = scope
    return etree.tostring(root)
