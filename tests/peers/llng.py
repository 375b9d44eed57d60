"""LemonLDAP::NG (Debian): SAML and OpenID Connect by other people's code, and a CAS server.

    with start_llng(folder, cas_service="http://localhost:8000/hub/cas/univ/callback") as llng:
        answer = log_in(session, f"{llng.cas_url}/login?service=…", "dwho")

Accounts (the password is the name): dwho (faculty), rtyler and msmith (students), all of the scope
`univ-llng.example`. The OpenID client is `CLIENT_ID` and `CLIENT_SECRET` of `op`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urljoin

import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from lxml import etree

from ..conftest import free_ports
from .forms import form
from .keys import key_pair, private_pem, public_pem
from .process import running

PROGRAM = Path(__file__).parent / "llng" / "portal.psgi"
CONFIG = Path("/var/lib/lemonldap-ng/conf/lmConf-1.json")  # what the package brings


@dataclass(frozen=True)
class Peer:
    """A running portal; its `url` is the OpenID issuer too."""

    url: str
    entity_id: str
    metadata: bytes
    process: subprocess.Popen[bytes]

    @property
    def cas_url(self) -> str:
        return f"{self.url}/cas"


@contextmanager
def start_llng(
    folder: Path,
    *,
    sp_metadata: Path | bytes | None = None,
    redirect_uris: Sequence[str] = (),
    cas_service: str = "",
    port: int | None = None,
    clock_offset: timedelta | None = None,
    **environment: str,
) -> Iterator[Peer]:
    """Run a portal. What it is to know of its clients has to be there: it is read at start.

    `environment`: LLNG_ENCRYPT=assertion, LLNG_ARRAY=always (a single affiliation as a list too).
    """
    plackup = shutil.which("plackup")
    assert plackup, "plackup is missing: run scripts/test identity"
    assert CONFIG.exists(), "LemonLDAP::NG is missing: run scripts/test identity"
    port = port or free_ports(1)[0]
    run = folder / f"llng-{port}"
    for name in ("conf", "sessions/lock", "psessions/lock", "cache"):
        (run / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(CONFIG, run / "conf")
    key_pair(run, "saml")
    if not (run / "oidc.pem").exists():  # a second start on the same port has the same keys
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (run / "oidc.pem").write_bytes(private_pem(key))
        (run / "oidc.pub").write_bytes(public_pem(key))
    if isinstance(sp_metadata, bytes):
        (run / "sp-metadata.xml").write_bytes(sp_metadata)
        sp_metadata = run / "sp-metadata.xml"
    url = f"http://127.0.0.1:{port}"
    with running(
        [plackup, "--host", "127.0.0.1", "--port", str(port), "-E", "deployment", PROGRAM],
        answers_at=f"{url}/saml/metadata/idp",
        log=run / "portal.log",
        environment={
            "LLNG_RUN": str(run),
            "LLNG_PORT": str(port),
            "LLNG_SP_METADATA": "" if sp_metadata is None else str(sp_metadata),
            "LLNG_REDIRECT_URIS": " ".join(redirect_uris),
            "LLNG_CAS_SERVICE": cas_service,
            **environment,
        },
        clock_offset=clock_offset,
    ) as process:
        yield Peer(
            url=url,
            entity_id="https://idp.univ-llng.example/saml/metadata",
            metadata=requests.get(f"{url}/saml/metadata/idp", timeout=30).content,
            process=process,
        )


def with_scope(metadata: bytes, scope: str = "univ-llng.example") -> bytes:
    """Its metadata as a federation publishes them, which knows for whom it speaks."""
    root = etree.fromstring(metadata)
    extensions = root.find("{*}IDPSSODescriptor/{*}Extensions")
    if extensions is None:
        extensions = etree.Element("{urn:oasis:names:tc:SAML:2.0:metadata}Extensions")
        root.find("{*}IDPSSODescriptor").insert(0, extensions)
    etree.SubElement(extensions, "{urn:mace:shibboleth:metadata:1.0}Scope").text = scope
    return etree.tostring(root)


def log_in(session: requests.Session, url: str, user: str) -> requests.Response:
    """Follow the address of a request and sign in: the answer that leads back, not followed.

    With CAS and OpenID Connect that is a redirect; with SAML a page with the form.
    """
    portal = urljoin(url, "/")
    answer = session.get(url, timeout=30, allow_redirects=False)
    while True:
        location = answer.headers.get("Location")
        if location is not None:
            address = urljoin(answer.url, location)
            if not address.startswith(portal):
                return answer
            answer = session.get(address, timeout=30, allow_redirects=False)
        elif 'name="SAMLResponse"' in answer.text:
            return answer
        else:
            filled = form(answer, having="user")
            fields = {**filled.fields, "user": user, "password": user}
            answer = session.post(filled.action, data=fields, timeout=30, allow_redirects=False)
