"""SimpleSAMLphp (Debian): SAML 2.0 identity providers, several at once.

    with start_idp(folder, "univ-a", sp_metadata=sp_file) as idp:
        answer = log_in(session, address_of_a_request, "alice")

Accounts (the password is the name): alice (student), bob (faculty, teacher), carol (staff), dan
(student and teacher, first a student), alum; mallory speaks for another institution's scope;
nobody has no identifier.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import requests

from ..conftest import free_ports
from .forms import Form, form
from .keys import key_pair
from .process import running

CONFIG = Path(__file__).parent / "ssp"


@dataclass(frozen=True)
class Peer:
    """A running identity provider. `metadata` is its own EntityDescriptor, unsigned."""

    url: str
    entity_id: str
    scope: str
    metadata: bytes
    process: subprocess.Popen[bytes]
    folder: Path
    key: Path = field(repr=False)
    certificate: Path

    def says(self, user: str, **attributes: list[str]) -> None:
        """From the next sign-in on, release these attributes of `user` (- written as _)."""
        file = self.folder / "people.json"
        people = json.loads(file.read_text())
        people.setdefault(user, {}).update(attributes)
        file.write_text(json.dumps(people))


@contextmanager
def start_idp(
    folder: Path,
    name: str,
    *,
    sp_metadata: Path | bytes,
    port: int | None = None,
    clock_offset: timedelta | None = None,
    **environment: str,
) -> Iterator[Peer]:
    """Run an identity provider of the scope `NAME.example`.

    `sp_metadata` may be a file that appears later: it is read anew at each request.

    `environment`: IDP_SCOPE, IDP_ENTITY (entityID), IDP_UAI (supannEtablissement), IDP_TITLE_FR,
    IDP_TITLE_EN, IDP_AUTH=static (bob, without a form), IDP_ENCRYPT=1, IDP_SIGN_RESPONSE=0,
    IDP_SIGN_ASSERTION=0 (an SP whose metadata say WantAssertionsSigned gets them signed all the
    same), IDP_SIGALG, IDP_WANT_SIGNED=1 (refuse unsigned requests).
    """
    run = folder / f"idp-{name}"
    (run / "tmp").mkdir(parents=True, exist_ok=True)
    (run / "people.json").write_text("{}")
    key, certificate = key_pair(run / "cert", name)
    if isinstance(sp_metadata, bytes):
        (run / "sp-metadata.xml").write_bytes(sp_metadata)
        sp_metadata = run / "sp-metadata.xml"
    port = port or free_ports(1)[0]
    scope = environment.get("IDP_SCOPE", f"{name}.example")
    url = f"http://127.0.0.1:{port}"
    environ = {
        "SIMPLESAMLPHP_CONFIG_DIR": str(CONFIG / "config"),
        "IDP_CONFIG": str(CONFIG),
        "IDP_RUN": str(run),
        "IDP_NAME": name,
        "IDP_PORT": str(port),
        "IDP_SCOPE": scope,
        "IDP_ENTITY": f"https://idp.{scope}/idp/shibboleth",
        "IDP_SP_METADATA": str(sp_metadata),
        **environment,
    }
    php = shutil.which("php")
    assert php, "PHP is missing: run scripts/test identity"
    quiet = ["-d", "error_reporting=0", "-d", "display_errors=0"]
    with running(
        [php, *quiet, "-S", f"127.0.0.1:{port}", CONFIG / "router.php"],
        answers_at=f"{url}/simplesaml/saml2/idp/metadata.php",
        log=run / "php.log",
        environment=environ,
        clock_offset=clock_offset,
    ) as process:
        metadata = requests.get(f"{url}/simplesaml/saml2/idp/metadata.php", timeout=30).content
        yield Peer(
            url=url,
            entity_id=environ["IDP_ENTITY"],
            scope=scope,
            metadata=metadata,
            process=process,
            folder=run,
            key=key,
            certificate=certificate,
        )


def log_in(session: requests.Session, url: str, user: str) -> Form:
    """Follow an AuthnRequest's address and sign in: the form with the SAMLResponse, not sent."""
    page = session.get(url, timeout=30)
    if 'name="SAMLResponse"' not in page.text:
        page = form(page, having="AuthState").send(session, username=user, password=user)
    return form(page, having="SAMLResponse")
