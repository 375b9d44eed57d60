"""`hubconfig.install` and what the authenticator refuses at start-up."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from traitlets.config import Config

from mydocker_hub import hubconfig
from mydocker_hub.authenticator import listens_on_loopback
from mydocker_hub.domain.culling import SiteLimits
from mydocker_hub.services.builder.state import Settings
from mydocker_hub.services.catalogue.app import Settings as CatalogueSettings
from mydocker_hub.services.culler.state import limits_from
from mydocker_hub.swarm.builds import Setup

from .conftest import free_ports, proxy_folder
from .hub import RunningHub

SCOPES = {
    "access:services!service=catalogue",
    "read:users:name!user",
    "read:users:groups!user",
    "read:servers!user",
    "servers!user",
}


def install(state: Path, c: Config | None = None, **options) -> Config:
    c = c or Config()
    hubconfig.install(c, state=state, **options)
    return c


def catalogue(c: Config) -> dict:
    return next(service for service in c.JupyterHub.services if service["name"] == "catalogue")


def gateway(c: Config) -> dict:
    return next(service for service in c.JupyterHub.services if service["name"] == "gateway")


# --- install -------------------------------------------------------------------------------------


def test_the_gateway_has_no_rights(tmp_path: Path) -> None:
    service = gateway(install(tmp_path))
    # no address at the proxy, no sign-in of its own, no scopes
    assert set(service) == {"name", "command", "display", "environment"}
    assert service["environment"]["MYDOCKER_GATEWAY_HOST"] == "127.0.0.1"


def builder(c: Config) -> dict:
    return next(service for service in c.JupyterHub.services if service["name"] == "builder")


def test_the_builder_has_no_rights(tmp_path: Path) -> None:
    c = install(tmp_path, builder_port=1234)
    assert set(builder(c)) == {"name", "command", "display", "environment"}
    assert [role["name"] for role in c.JupyterHub.load_roles] == ["user", "mydocker-culler"]
    of_builder, of_catalogue = builder(c)["environment"], catalogue(c)["environment"]
    for name in ("MYDOCKER_BUILDER_SECRET", "MYDOCKER_DATABASE_URL", "MYDOCKER_FILES_DIR"):
        assert of_builder[name] == of_catalogue[name]
    assert "MYDOCKER_CATALOGUE_SECRET" not in of_builder
    assert of_builder["MYDOCKER_BUILDER_HOST"] == "127.0.0.1"
    assert of_catalogue["MYDOCKER_BUILDER_URL"] == "http://127.0.0.1:1234"
    assert stat.S_IMODE((tmp_path / "builder_secret").stat().st_mode) == 0o600


def test_the_culler_sees_and_stops_servers_and_nothing_else(tmp_path: Path) -> None:
    c = install(tmp_path, longest_idle_minutes=30, longest_run_hours=12, session_effect="exam")
    (culler,) = [service for service in c.JupyterHub.services if service["name"] == "culler"]
    assert set(culler) == {"name", "command", "display", "environment"}
    (role,) = [role for role in c.JupyterHub.load_roles if role.get("services")]
    assert role["services"] == ["culler"]
    assert role["scopes"] == ["read:servers", "delete:servers"]
    # the site's limits are the same for who stops and for who says when
    of_culler, of_catalogue = culler["environment"], catalogue(c)["environment"]
    limits = SiteLimits(timedelta(minutes=30), timedelta(hours=12))
    assert limits_from(of_culler) == limits_from(of_catalogue) == limits
    assert limits_from(catalogue(install(tmp_path))["environment"]) == SiteLimits()
    assert of_culler["MYDOCKER_SESSION_EFFECT"] == of_catalogue["MYDOCKER_SESSION_EFFECT"] == "exam"
    assert not any("SECRET" in name for name in of_culler)


def test_when_records_of_servers_are_made(tmp_path: Path) -> None:
    def minutes(**options: object) -> str:
        return catalogue(install(tmp_path, **options))["environment"]["MYDOCKER_RECORDS_MINUTES"]

    assert minutes() == "0"
    assert minutes(prepare_records=True) == "30"
    assert minutes(prepare_records=True, prepare_minutes=10) == "10"
    assert minutes(prepare_records=True, prepare_minutes=0) == "0"


def test_what_the_builder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = tmp_path / "config.json"
    auth.write_text('{"auths": {"r.example": {"username": "bot", "password": "hush"}}}')
    c = install(
        tmp_path / "state",
        registry="r.example/teachers",
        registry_auth=auth,
        build_engine="tcp://build.example:2376",
        build_settings=tmp_path,
        build_network="none",
        build_minutes=5,
        build_max_gb=2,
        private_hosts=("gitlab.example:8443",),
    )
    settings = Settings.from_environ(builder(c)["environment"])
    assert settings.setup == Setup(
        hub="mydocker",
        engine="tcp://build.example:2376",
        network="none",
        settings=tmp_path,
        registry="r.example/teachers",
        registry_auth=auth,
    )
    assert (settings.limits.seconds, settings.limits.image_bytes) == (300, 2_000_000_000)
    assert settings.secrets() == {"hush"}
    assert settings.credentials().of("r.example") == ("bot", "hush")
    allowed = ("r.example", "gitlab.example:8443")
    assert all(settings.may_be_private(place) for place in allowed)
    others = ("gitlab.example", "gitlab.example:22", "r.example.org", "teachers", "")
    assert not any(settings.may_be_private(place) for place in others)


def test_without_a_builder(tmp_path: Path) -> None:
    c = install(tmp_path, builder=False)
    names = [service["name"] for service in c.JupyterHub.services]
    assert names == ["catalogue", "gateway", "culler"]
    assert catalogue(c)["environment"]["MYDOCKER_BUILDER_URL"] == ""


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("registry", "https://r.example/x"),
        ("registry", "r.example/UPPER"),
        ("registry_auth", Path("/nonexistent")),
        ("registry_auth", Path(__file__)),
        ("build_settings", Path(__file__)),
        ("base_images", Path(__file__)),
    ],
)
def test_what_builds_could_not_use_is_refused(tmp_path: Path, argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"registry|config\.json|build_settings|base_images"):
        install(tmp_path, **{argument: value})


PUBLIC = {"public_url": "https://hub.example.org", "mail_from": "no-reply@example.org"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mail_from": "no-reply@example.org"}, "smtp is missing"),
        ({"smtp_security": "none"}, "smtp is missing"),
        ({"smtp": "smtp.example.org", "mail_from": "a@example.org"}, "smtp needs public_url"),
        ({"smtp": "smtp.example.org", "public_url": "https://hub.example.org"}, "needs mail_from"),
        ({**PUBLIC, "smtp": "smtp://smtp.example.org"}, "smtp is a name and a port"),
        ({**PUBLIC, "smtp": "smtp.example.org:99999"}, "smtp is a name and a port"),
        ({**PUBLIC, "smtp": "smtp.example.org", "smtp_security": "ssl"}, "starttls, tls, none"),
        ({**PUBLIC, "smtp": "smtp.example.org", "mail_from": "hub"}, "mail_from is an address"),
        (
            {
                **PUBLIC,
                "smtp": "smtp.example.org",
                "mail_from": "a@example.org\nBcc: b@example.org",
            },
            "mail_from is an address",
        ),
        (
            {**PUBLIC, "smtp": "localhost", "smtp_security": "none", "smtp_login": "login"},
            "for all to read",
        ),
        ({**PUBLIC, "smtp": "smtp.example.org", "smtp_login": "missing"}, "No such file"),
        ({**PUBLIC, "smtp": "smtp.example.org", "smtp_login": "name-only"}, "the password in the"),
        ({**PUBLIC, "smtp": "smtp.example.org", "smtp_ca": "missing"}, "smtp_ca"),
        ({**PUBLIC, "smtp": "smtp.example.org", "smtp_ca": "login"}, "smtp_ca"),
    ],
)
def test_what_no_mail_could_be_sent_with_is_refused(tmp_path: Path, options, words: str) -> None:
    (tmp_path / "login").write_text("hub\nTOPSECRET\n")
    (tmp_path / "name-only").write_text("hub\n")
    for name in {"smtp_login", "smtp_ca"} & set(options):
        options = {**options, name: tmp_path / options[name]}
    with pytest.raises(ValueError, match=words) as refused:
        install(tmp_path / "state", **options)
    assert "TOPSECRET" not in str(refused.value)


def test_mail_is_off_and_its_password_stays_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert catalogue(install(tmp_path))["environment"]["MYDOCKER_SMTP"] == ""
    (tmp_path / "login").write_text("hub\nTOPSECRET\n")
    c = install(tmp_path, **PUBLIC, smtp="smtp.example.org", smtp_login=tmp_path / "login")
    assert "TOPSECRET" not in str(c)
    for service in c.JupyterHub.services:
        named = [name for name in service["environment"] if "SMTP" in name or "MAIL" in name]
        assert bool(named) is (service["name"] == "catalogue")
    for name, value in catalogue(c)["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUPYTERHUB_API_URL", "http://127.0.0.1:8081/hub/api")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/services/catalogue/")
    settings = CatalogueSettings.from_environ()
    assert settings.sessions.mails
    assert settings.mail is not None
    assert (settings.mail.name, settings.mail.login) == (
        "smtp.example.org:587",
        ("hub", "TOPSECRET"),
    )
    assert "TOPSECRET" not in repr(settings)


def test_the_gateway_and_the_spawner_know_each_other(tmp_path: Path) -> None:
    c = install(tmp_path, gateway_port=1234)
    assert c.SwarmEnvironmentSpawner.gateway_url == "http://127.0.0.1:1234"
    assert gateway(c)["environment"]["MYDOCKER_GATEWAY_PORT"] == "1234"
    secret = c.SwarmEnvironmentSpawner.gateway_secret
    assert gateway(c)["environment"]["MYDOCKER_GATEWAY_SECRET"] == secret
    file = tmp_path / "gateway_secret"
    assert file.read_text() == secret
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # and the catalogue does not
    assert secret != c.SwarmEnvironmentSpawner.catalogue_secret
    assert secret not in catalogue(c)["environment"].values()
    assert install(tmp_path).SwarmEnvironmentSpawner.gateway_secret == secret


@pytest.mark.parametrize(
    ("public_url", "wildcard_url"),
    [
        ("", ""),
        ("https://hub.example.org", ""),
        ("http://localhost:8000", ""),
        ("https://hub.example.org", "https://*.env.example.org"),
        ("https://hub.example.org:8443", "https://*.env.example.org:8443"),
        ("http://localhost:8000", "http://*.localhost:8011"),
    ],
)
def test_public_addresses(tmp_path: Path, public_url: str, wildcard_url: str) -> None:
    c = install(tmp_path, public_url=public_url, wildcard_url=wildcard_url)
    for service in (catalogue(c), gateway(c)):
        assert service["environment"]["MYDOCKER_PUBLIC_URL"] == public_url
        assert service["environment"]["MYDOCKER_WILDCARD_URL"] == wildcard_url


@pytest.mark.parametrize(
    ("public_url", "wildcard_url", "sentence"),
    [
        ("hub.example.org", "", "public_url is a scheme and a host"),
        ("https://hub.example.org/", "", "public_url is a scheme and a host"),
        ("https://hub.example.org/base", "", "public_url is a scheme and a host"),
        ("https://hub.example.org?x", "", "public_url is a scheme and a host"),
        ("https://user:secret@hub.example.org", "", "public_url is a scheme and a host"),
        ("ftp://hub.example.org", "", "public_url is a scheme and a host"),
        ("https://", "", "public_url is a scheme and a host"),
        ("https://:8000", "", "public_url is a scheme and a host"),
        ("https://hub.example.org", "*.env.example.org", "wildcard_url is a scheme and a host"),
        ("", "https://*.env.example.org", "wildcard_url needs public_url"),
        ("https://hub.example.org", "https://env.example.org", "as its first label"),
        ("https://hub.example.org", "https://a-*.env.example.org", "as its first label"),
        ("https://hub.example.org", "https://*env.example.org", "as its first label"),
        ("https://hub.example.org", "https://*.*.example.org", "as its first label"),
        ("https://hub.example.org", "https://env.*.org", "as its first label"),
        ("https://hub.example.org", "https://*.example.org", "covers the hub's own name"),
        ("https://HUB.example.org:1", "https://*.Example.org:1", "covers the hub's own name"),
    ],
)
def test_addresses_that_cannot_work(
    tmp_path: Path, public_url: str, wildcard_url: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        install(tmp_path / "state", public_url=public_url, wildcard_url=wildcard_url)
    assert not (tmp_path / "state").exists()  # refused before anything is made


def test_the_service_has_the_least_rights(tmp_path: Path) -> None:
    c = install(tmp_path)
    service = catalogue(c)
    assert set(service["oauth_client_allowed_scopes"]) == SCOPES
    assert not {"admin", "oauth_roles", "api_token", "user"} & set(service)
    # no role names the service: of its own it may do nothing
    assert not any("catalogue" in role.get("services", []) for role in c.JupyterHub.load_roles)
    assert c.JupyterHub.load_roles[0]["scopes"] == ["self", "access:services!service=catalogue"]


def test_the_secret_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    before = os.umask(0)
    try:
        c = install(state)
    finally:
        os.umask(before)
    file = state / "catalogue_secret"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text()
    assert len(secret) >= 40
    assert c.SwarmEnvironmentSpawner.catalogue_secret == secret
    assert catalogue(c)["environment"]["MYDOCKER_CATALOGUE_SECRET"] == secret
    assert catalogue(install(state)) == catalogue(c)
    assert file.read_text() == secret
    other = install(tmp_path / "b")
    assert other.SwarmEnvironmentSpawner.catalogue_secret != secret


@pytest.mark.parametrize(
    ("base_url", "prefix"),
    [
        ("/", "/services/catalogue/"),
        ("", "/services/catalogue/"),
        ("/mydocker/", "/mydocker/services/catalogue/"),
        ("/mydocker", "/mydocker/services/catalogue/"),
        ("a/b", "/a/b/services/catalogue/"),
    ],
)
def test_below_an_address(tmp_path: Path, base_url: str, prefix: str) -> None:
    c = install(tmp_path, base_url=base_url, catalogue_port=1234)
    assert c.JupyterHub.default_url == prefix
    assert c.JupyterHub.base_url + "services/catalogue/" == prefix
    assert c.SwarmEnvironmentSpawner.catalogue_url == f"http://127.0.0.1:1234{prefix}api"


def test_what_the_operator_wrote_before_is_kept(tmp_path: Path) -> None:
    c = Config()
    c.JupyterHub.services = [{"name": "mine"}]
    c.JupyterHub.load_roles = [{"name": "mine"}]
    c.JupyterHub.template_paths = ["/my/templates"]
    install(tmp_path, c)
    services = [service["name"] for service in c.JupyterHub.services]
    assert services == ["mine", "catalogue", "gateway", "culler", "builder"]
    assert [role["name"] for role in c.JupyterHub.load_roles] == ["mine", "user", "mydocker-culler"]
    assert c.JupyterHub.template_paths[0] == "/my/templates"
    assert len(c.JupyterHub.template_paths) == 2


def test_the_database(tmp_path: Path) -> None:
    environment = catalogue(install(tmp_path))["environment"]
    assert environment["MYDOCKER_DATABASE_URL"] == f"sqlite:///{tmp_path / 'catalogue.sqlite'}"
    environment = catalogue(install(tmp_path, database_url="postgresql://db/x"))["environment"]
    assert environment["MYDOCKER_DATABASE_URL"] == "postgresql://db/x"


def test_the_demonstration_is_asked_for(tmp_path: Path) -> None:
    c = install(tmp_path)
    assert c.MyDockerAuthenticator.demo is False
    assert c.JupyterHub.template_vars["demo_accounts"] == []
    assert catalogue(c)["environment"]["MYDOCKER_DEMO"] == "0"
    c = install(tmp_path, demo=True)
    assert [a["name"] for a in c.JupyterHub.template_vars["demo_accounts"]] == [
        "alice",
        "bob",
        "carol",
    ]


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://127.8.9.10:8000/base/", True),
        ("http://localhost:8000", True),
        ("http://[::1]:8000", True),
        ("http://:8000", False),
        ("http://0.0.0.0:8000", False),
        ("http://[::]:8000", False),
        ("http://*:8000", False),
        ("http://192.0.2.1:8000", False),
        ("http://hub.example.org", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("http://127.0.0.1@example.org", False),
        ("http://2130706433:8000", False),
        ("", False),
        (":8000", False),
    ],
)
def test_loopback(url: str, loopback: bool) -> None:
    assert listens_on_loopback(url) is loopback


# --- the hub itself ------------------------------------------------------------------------------


def start(tmp_path: Path, config: str, *, demo: bool = True, seconds: float = 40) -> str:
    """Start a hub that is to refuse its configuration, and answer what it says."""
    public, hub, api, port = free_ports(4)
    file = tmp_path / "jupyterhub_config.py"
    file.write_text(
        "from pathlib import Path\nfrom mydocker_hub import hubconfig\n"
        f"hubconfig.install(c, state=Path({str(tmp_path)!r}), demo={demo}, catalogue_port={port})\n"
        f"c.JupyterHub.bind_url = 'http://127.0.0.1:{public}'\n"
        f"c.JupyterHub.hub_port = {hub}\n"
        f"c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:{api}'\n" + config
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterhub", "-f", str(file)],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{proxy_folder()}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output = process.communicate(timeout=seconds)[0].decode()
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        output = process.communicate(timeout=30)[0].decode()
        pytest.fail(f"the hub runs:\n{output[-3000:]}")
    assert process.returncode != 0
    for one in (public, hub, api, port):
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{one}/", timeout=2)
    return output


@pytest.mark.hub
@pytest.mark.parametrize("host", ["0.0.0.0", "", "[::]"])
def test_the_demonstration_does_not_run_in_public(tmp_path: Path, host: str) -> None:
    output = start(tmp_path, f"c.JupyterHub.bind_url = 'http://{host}:{free_ports(1)[0]}'\n")
    assert "lets anybody in" in output


@pytest.mark.hub
def test_the_demonstration_does_not_run_on_the_old_setting_either(tmp_path: Path) -> None:
    output = start(tmp_path, "del c.JupyterHub['bind_url']\nc.JupyterHub.ip = '0.0.0.0'\n")
    assert "lets anybody in" in output


@pytest.mark.hub
def test_without_a_door_it_says_so(tmp_path: Path) -> None:
    assert "no door is configured" in start(tmp_path, "", demo=False)


@pytest.mark.hub
def test_settings_that_would_be_ignored_are_named(tmp_path: Path) -> None:
    output = start(
        tmp_path,
        "c.SwarmEnvironmentSpawner.mem_limit = '1G'\n"
        "c.DockerSpawner.image = 'evil'\n"
        "c.Spawner.cpu_limit = 3\n",
    )
    for name in (
        "c.SwarmEnvironmentSpawner.mem_limit",
        "c.DockerSpawner.image",
        "c.Spawner.cpu_limit",
    ):
        assert name in output


@pytest.mark.hub
@pytest.mark.engine
def test_the_service_knows_roles_with_these_rights(hub: RunningHub) -> None:
    """With the browser's own (narrow) token: name, groups, admin flag and servers are there."""
    for name, admin in (("alice", False), ("bob", False), ("carol", True)):
        with hub.signed_in(name) as visitor:
            page = visitor.get("/services/catalogue/").text
            assert ('href="/hub/admin"' in page) is admin
            kinds = visitor.get("/services/catalogue/api/compute-types")
            # a teacher is one by their group, an administrator by the hub's flag
            assert kinds.status_code == (403 if name == "alice" else 200)
            assert visitor.get("/services/catalogue/states").status_code == 200


@pytest.mark.hub
@pytest.mark.engine
def test_what_the_services_token_may_do(hub: RunningHub) -> None:
    """The token that the service holds for somebody opens nothing but what is documented."""
    with hub.signed_in("carol") as carol:
        carol.get("/services/catalogue/")
        tokens = carol.api("GET", "/users/carol/tokens").json()["api_tokens"]
        (token,) = [t for t in tokens if t["oauth_client"] and "catalogue" in t["oauth_client"]][:1]
        given = {scope.split("!")[0] for scope in token["scopes"]}
        assert given <= {
            "access:services",
            "read:users:name",
            "read:users:groups",
            "read:servers",
            "servers",
            "start:servers",
            "delete:servers",
        }
        assert all("!" in scope for scope in token["scopes"])
