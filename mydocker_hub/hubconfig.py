"""`install(c)` wires mydocker_hub into a `jupyterhub_config.py`, with the least rights."""

from __future__ import annotations

import os
import secrets
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import __version__, baseimages
from .authenticator import DEMO_ACCOUNTS, ROLE_NAMES
from .domain.command import check_image
from .domain.environment import Effect
from .domain.errors import Invalid
from .identity.settings import SignInSettings, load
from .mailserver import MailServer
from .registry import Credentials
from .share import share_path
from .web import frames

CATALOGUE = "catalogue"
GATEWAY = "gateway"
BUILDER = "builder"
CULLER = "culler"


def install(
    c: Any,
    *,
    state: Path,
    hub_id: str = "mydocker",
    database_url: str = "",
    catalogue_port: int = 8010,
    gateway_port: int = 8011,
    base_url: str = "/",
    public_url: str = "",
    wildcard_url: str = "",
    sign_in: Path | None = None,
    builder: bool = True,
    builder_port: int = 8012,
    registry: str = "",
    registry_auth: Path | None = None,
    build_engine: str = "",
    build_settings: Path | None = None,
    build_network: str = "",
    build_minutes: int = 60,
    build_max_gb: int = 20,
    prepare_minutes: int = 30,
    prepare_records: bool = False,
    left_folders_days: int | None = None,
    session_effect: str = "indicative",
    session_people_limit: int | None = None,
    smtp: str = "",
    smtp_security: str = "starttls",
    smtp_login: Path | None = None,
    smtp_ca: Path | None = None,
    mail_from: str = "",
    private_hosts: tuple[str, ...] = (),
    base_images: Path | None = None,
    longest_idle_minutes: int = 0,
    longest_run_hours: int = 0,
    demo: bool = False,
) -> None:
    """Set up the hub for mydocker_hub; services, roles and templates that `c` names are kept.

    `state` is a folder for what must survive a restart (secrets, and the SQLite databases unless
    `database_url` names another); it is made for its owner alone. `hub_id` names this hub on its
    Swarm and in the names of personal folders: never change it.

    `public_url` is the scheme and host at which people reach the hub, such as
    `https://hub.example.org`. With `wildcard_url`, such as `https://*.env.example.org`, each
    interface has an origin of its own: the front must lead these names to `gateway_port`.

    `sign_in` is the file that says which doors there are (docs/operators/sign-in.md); it needs
    `public_url`.

    `builder` says whether images are built here: on the Docker engine `build_engine` (as
    DOCKER_HOST; empty, that of the hub), for `build_minutes` and up to `build_max_gb` each, and
    pushed below `registry` with the account of `registry_auth`. `build_settings` is a folder of
    settings that builds are shown (docs/operators/images.md), `private_hosts` names hosts of
    private networks that teachers may have asked, `base_images` is a file of images to build on.

    The builder also has the images of sessions brought to the machines of the Swarm,
    `prepare_minutes` before they begin; 0 leaves that to the first person. It removes personal
    folders to which nobody can come any more, as their person or their environment is gone,
    after `left_folders_days` (by default never), from disks that are the engine's own.

    With `prepare_records` the hub makes the records of the servers that a class will start for the
    first time, also `prepare_minutes` before its session: many who click at once wait less.

    `session_effect` is what sessions in the calendar decide where an environment does not say:
    `indicative`, `reserved` or `exam` (`domain.environment.Effect`). Sessions of more people than
    `session_people_limit` wait for an administrator.

    `smtp` is the mail server that tells administrators of sessions that wait, and teachers of what
    others did to theirs; without one, no mail is sent. `smtp_security` is `starttls`, `tls` or
    `none`, `smtp_login` a file with the name in its first line and the password in the second,
    `smtp_ca` a file of certificates where the system's are not enough, `mail_from` who writes. It
    needs `public_url`.

    No server runs for longer than `longest_idle_minutes` without anybody, nor than
    `longest_run_hours` in all, whatever its environment says; 0 is no limit.

    Raises ValueError for addresses that cannot work, and for files that are not right.
    """
    check_addresses(public_url, wildcard_url)
    if session_effect not in list(Effect):
        raise ValueError(f"session_effect: write one of {', '.join(Effect)}")
    if session_people_limit is not None and session_people_limit < 1:
        raise ValueError("session_people_limit: write how many people, or leave it out")
    _check_mail(smtp, smtp_security, smtp_login, smtp_ca, mail_from, public_url)
    _check_builds(registry, registry_auth, build_settings, base_images)
    settings = _sign_in_settings(sign_in, public_url)
    frame_origins = settings.lti.frame_origins if settings.lti else ()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    secret = _secret(state / "catalogue_secret")
    gateway_secret = _secret(state / "gateway_secret")
    builder_secret = _secret(state / "builder_secret")
    database_url = database_url or f"sqlite:///{state / 'catalogue.sqlite'}"
    files = str(state / "images")
    base_url = f"/{base_url.strip('/')}/" if base_url.strip("/") else "/"
    prefix = f"{base_url}services/{CATALOGUE}/"
    address = f"http://127.0.0.1:{catalogue_port}"

    hub = c.JupyterHub
    hub.base_url = base_url
    hub.spawner_class = "mydocker"
    hub.authenticator_class = "mydocker"
    hub.cookie_secret_file = str(state / "jupyterhub_cookie_secret")
    hub.db_url = f"sqlite:///{_with_wal(state / 'jupyterhub.sqlite')}"
    hub.allow_named_servers = True  # one for each environment; the unnamed one is not used
    hub.named_server_limit_per_user = 100  # each name that is asked for leaves a row for ever
    hub.cleanup_servers = False  # people go on working while the hub restarts
    hub.default_url = prefix
    hub.template_paths = [*_already(hub, "template_paths"), str(share_path("templates", "hub"))]
    hub.logo_file = str(share_path("static", "logo.svg"))
    hub.jinja_environment_options = {"extensions": ["mydocker_hub.web.hubi18n.HubTranslations"]}
    hub.template_vars = {
        "catalogue_url": prefix,
        "demo": demo,
        "demo_accounts": [
            {"name": name, "display_name": display_name, "role": ROLE_NAMES[role]}
            for name, (display_name, role) in DEMO_ACCOUNTS.items()
        ]
        if demo
        else [],
    }
    # The proxy counts any traffic as activity, an open tab's too. Servers report their own
    # (jupyterhub-singleuser), or the gateway does.
    hub.last_activity_interval = 0
    # A class that clicks in the same minute is not told to come back.
    hub.concurrent_spawn_limit = 300
    # The gateway, through which servers are asked whether they run, starts after this.
    hub.init_spawners_timeout = 1
    # Do not keep a browser waiting for a start: the waiting page shows how it goes.
    hub.tornado_settings = {"slow_spawn_timeout": 0.5}
    # A sign-in ends, and with it what the provider said of roles.
    hub.cookie_max_age_days = settings.session_hours / 24
    if frame_origins:
        frames.allow_partitioned_cookies()
        hub.tornado_settings |= {
            "mydocker_frame_policy": frames.policy(frame_origins),
            "cookie_options": frames.COOKIE_OPTIONS,
        }

    c.MyDockerAuthenticator.demo = demo
    c.MyDockerAuthenticator.sign_in_file = str(sign_in or "")
    c.MyDockerAuthenticator.state = str(state)
    c.MyDockerAuthenticator.public_url = public_url
    c.SwarmEnvironmentSpawner.hub_id = hub_id
    c.SwarmEnvironmentSpawner.catalogue_url = f"{address}{prefix}api"
    c.SwarmEnvironmentSpawner.catalogue_secret = secret
    c.SwarmEnvironmentSpawner.gateway_url = f"http://127.0.0.1:{gateway_port}"
    c.SwarmEnvironmentSpawner.gateway_secret = gateway_secret

    limits = {
        "MYDOCKER_LONGEST_IDLE_SECONDS": str(60 * longest_idle_minutes or ""),
        "MYDOCKER_LONGEST_RUN_SECONDS": str(3600 * longest_run_hours or ""),
    }
    hub.services = [
        *_already(hub, "services"),
        {
            "name": CATALOGUE,
            "url": address,
            "command": [sys.executable, "-m", "mydocker_hub.services", "catalogue"],
            "display": False,  # it is in the navigation bar of every page
            "oauth_no_confirm": True,  # part of this hub, not a third party
            # What the catalogue may do for a person who is signed in, with that person's own
            # token; of its own it may do nothing at the hub.
            "oauth_client_allowed_scopes": [
                f"access:services!service={CATALOGUE}",
                # who they are, and their roles
                "read:users:name!user",
                "read:users:groups!user",
                # show, start and stop their own servers
                "read:servers!user",
                "servers!user",
            ],
            "environment": {
                "MYDOCKER_CATALOGUE_SECRET": secret,
                "MYDOCKER_DATABASE_URL": database_url,
                "MYDOCKER_FILES_DIR": files,
                "MYDOCKER_SESSION_EFFECT": session_effect,
                "MYDOCKER_SESSION_PEOPLE_LIMIT": str(session_people_limit or ""),
                "MYDOCKER_SMTP": smtp,
                "MYDOCKER_SMTP_SECURITY": smtp_security,
                "MYDOCKER_SMTP_LOGIN_FILE": str(smtp_login or ""),
                "MYDOCKER_SMTP_CA_FILE": str(smtp_ca or ""),
                "MYDOCKER_MAIL_FROM": mail_from,
                "MYDOCKER_RECORDS_MINUTES": str(prepare_minutes if prepare_records else 0),
                "MYDOCKER_BASE_IMAGES_FILE": str(base_images or ""),
                "MYDOCKER_BUILDER_URL": f"http://127.0.0.1:{builder_port}" if builder else "",
                "MYDOCKER_BUILDER_SECRET": builder_secret,
                "MYDOCKER_HUB_ID": hub_id,
                "MYDOCKER_DEMO": "1" if demo else "0",
                "MYDOCKER_SIGN_IN_FILE": str(sign_in or ""),
                "MYDOCKER_VERSION": __version__,
                **limits,
                "MYDOCKER_PUBLIC_URL": public_url,
                "MYDOCKER_WILDCARD_URL": wildcard_url,
                "PATH": os.environ.get("PATH", ""),
            },
        },
        {
            # No address of its own at the proxy: it answers below the servers' addresses. At the
            # hub it acts with each server's own token, and may do nothing of its own.
            "name": GATEWAY,
            "command": [sys.executable, "-m", "mydocker_hub.services", "gateway"],
            "display": False,
            "environment": {
                "MYDOCKER_GATEWAY_SECRET": gateway_secret,
                "MYDOCKER_GATEWAY_HOST": "127.0.0.1",
                "MYDOCKER_GATEWAY_PORT": str(gateway_port),
                "MYDOCKER_FRAME_ORIGINS": " ".join(frame_origins),
                "MYDOCKER_PUBLIC_URL": public_url,
                "MYDOCKER_WILDCARD_URL": wildcard_url,
                "PATH": os.environ.get("PATH", ""),
            },
        },
        {
            # No address either. It reads in the catalogue's database what limits servers have.
            "name": CULLER,
            "command": [sys.executable, "-m", "mydocker_hub.services", "culler"],
            "display": False,
            "environment": {
                "MYDOCKER_DATABASE_URL": database_url,
                "MYDOCKER_SESSION_EFFECT": session_effect,
                **limits,
                "PATH": os.environ.get("PATH", ""),
            },
        },
    ]
    if builder:
        # No address at the proxy and no rights at the hub: it reads the queue of builds in the
        # catalogue's database, and works it off on a Docker engine.
        hub.services.append(
            {
                "name": BUILDER,
                "command": [sys.executable, "-m", "mydocker_hub.services", "builder"],
                "display": False,
                "environment": {
                    "MYDOCKER_BUILDER_SECRET": builder_secret,
                    "MYDOCKER_BUILDER_HOST": "127.0.0.1",
                    "MYDOCKER_BUILDER_PORT": str(builder_port),
                    "MYDOCKER_DATABASE_URL": database_url,
                    "MYDOCKER_FILES_DIR": files,
                    "MYDOCKER_HUB_ID": hub_id,
                    "MYDOCKER_BUILD_ENGINE": build_engine,
                    "MYDOCKER_BUILD_NETWORK": build_network,
                    "MYDOCKER_BUILD_SETTINGS": str(build_settings or ""),
                    "MYDOCKER_BUILD_MINUTES": str(build_minutes),
                    "MYDOCKER_BUILD_MAX_GB": str(build_max_gb),
                    "MYDOCKER_PREPARE_MINUTES": str(prepare_minutes),
                    "MYDOCKER_LEFT_FOLDERS_DAYS": ""
                    if left_folders_days is None
                    else str(left_folders_days),
                    "MYDOCKER_BASE_IMAGES_FILE": str(base_images or ""),
                    "MYDOCKER_REGISTRY": registry,
                    "MYDOCKER_REGISTRY_AUTH": str(registry_auth or ""),
                    "MYDOCKER_PRIVATE_HOSTS": " ".join(private_hosts),
                    **_of_docker(),
                    "PATH": os.environ.get("PATH", ""),
                },
            }
        )
    hub.load_roles = [
        *_already(hub, "load_roles"),
        {
            "name": "user",
            "scopes": ["self", f"access:services!service={CATALOGUE}"],
            "description": "Themselves, and the pages of the catalogue.",
        },
        {
            "name": "mydocker-culler",
            # See which servers run and when somebody used them, and stop them: nothing else.
            "scopes": ["read:servers", "delete:servers"],
            "services": [CULLER],
            "description": "Stops servers whose time is over.",
        },
    ]


def _sign_in_settings(sign_in: Path | None, public_url: str) -> SignInSettings:
    if sign_in is None:
        return SignInSettings()
    if not public_url:
        raise ValueError("sign_in needs public_url: providers send people back there")
    try:
        return load(sign_in)
    except Invalid as error:
        raise ValueError(f"{sign_in}: {error.params['detail']}") from error


def _check_mail(
    smtp: str,
    security: str,
    login: Path | None,
    ca: Path | None,
    mail_from: str,
    public_url: str,
) -> None:
    """Refuse what no mail could be sent with. Raises ValueError saying what to write."""
    if not smtp:
        if login is not None or ca is not None or mail_from or security != "starttls":
            raise ValueError("smtp is missing: mail_from and the others are for a mail server")
        return
    if not public_url:
        raise ValueError("smtp needs public_url: mails hold the addresses of pages")
    if not mail_from:
        raise ValueError("smtp needs mail_from: who writes, such as no-reply@example.org")
    MailServer.load(smtp, security=security, sender=mail_from, login=login, ca=ca)


def _check_builds(
    registry: str,
    registry_auth: Path | None,
    build_settings: Path | None,
    base_images: Path | None,
) -> None:
    """Refuse what builds could not use. Raises ValueError saying what to write."""
    if registry:
        try:
            check_image(f"{registry.rstrip('/')}/name:1")
        except ValueError:
            raise ValueError(
                "registry is a place for images, such as registry.example.org/mydocker"
            ) from None
    if registry_auth is not None:
        try:
            Credentials.load(registry_auth)
        except OSError as error:
            raise ValueError(f"registry_auth: {registry_auth}: {error.strerror}") from None
    if build_settings is not None and not build_settings.is_dir():
        raise ValueError(f"build_settings: {build_settings} is no folder")
    if base_images is not None:
        try:
            baseimages.load(base_images)
        except Invalid as error:
            raise ValueError(f"base_images: {error.params['detail']}") from error


def _of_docker() -> dict[str, str]:
    """How the hub itself reaches its engine."""
    names = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
    return {name: os.environ[name] for name in names if name in os.environ}


def check_addresses(public_url: str, wildcard_url: str) -> None:
    """Refuse public addresses that cannot work. Raises ValueError saying what to write."""
    for name, url in (("public_url", public_url), ("wildcard_url", wildcard_url)):
        parts = urlsplit(url)
        whole = f"{parts.scheme}://{parts.netloc}" == url
        host_only = parts.hostname and "@" not in parts.netloc
        if url and not (whole and parts.scheme in {"http", "https"} and host_only):
            raise ValueError(f"{name} is a scheme and a host, such as https://hub.example.org")
    if not wildcard_url:
        return
    if not public_url:
        raise ValueError("wildcard_url needs public_url: people sign in there")
    host = urlsplit(wildcard_url).hostname or ""
    if not host.startswith("*.") or "*" in host[1:]:
        raise ValueError("wildcard_url has one * as its first label: https://*.env.example.org")
    if (urlsplit(public_url).hostname or "").endswith(host[1:]):
        raise ValueError("wildcard_url covers the hub's own name: give it a domain of its own")


def _already(section: Any, name: str) -> list[Any]:
    """The list that a configuration already holds."""
    value = section.get(name)
    return value if isinstance(value, list) else []


def _with_wal(path: Path) -> Path:
    """Have a SQLite file keep a write-ahead log, which it remembers.

    The hub writes several times at each start, on its event loop: a commit takes a sixth of the
    time (scripts/bench start), and is as safe.
    """
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
    return path


def _secret(path: Path) -> str:
    """A secret that is made once and then kept, readable by its owner alone."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    value = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w") as file:
        file.write(value)
    return value
