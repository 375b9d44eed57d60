"""LTI platforms, in threads of the test: whatever LTI decides is decided by others' libraries.

    with EdxPlatform(login_url=…, launch_url=…, tool_jwks_url=…) as platform:
        answer = session.get(platform.start_url("alice", role="student"))

`EdxPlatform` is Open edX's (PyPI: lti-consumer-xblock), `P13Platform` is lti1p3platform's: both LTI
1.3 with deep linking and names and roles. `edx_lti11` and `pylti_lti11` make LTI 1.1 launches.

Ours is only what neither has: HTTP, the list of members, dynamic registration. As judges they are
lenient: neither compares the audience of a deep linking answer or of a client assertion.
"""

from __future__ import annotations

import html
import json
import ssl
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import django
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings as django_settings
from lti import ToolConsumer
from lti1p3platform.ltiplatform import LTI1P3PlatformConfAbstract
from lti1p3platform.message_launch import LTIAdvantageMessageLaunchAbstract
from lti1p3platform.oidc_login import OIDCLoginAbstract
from lti1p3platform.registration import Registration

from ..conftest import free_ports
from .keys import private_pem, public_pem

if not django_settings.configured:  # which lti_consumer asks for when it is imported
    memory = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    django_settings.configure(
        PLATFORM_NAME="Open edX",
        SECRET_KEY="only-for-tests",
        USE_TZ=True,
        CACHES={"default": memory},
    )
    django.setup()

from lti_consumer.data import Lti1p3LaunchData
from lti_consumer.lti_1p1.consumer import LtiConsumer1p1
from lti_consumer.lti_1p3 import constants as edx_constants
from lti_consumer.lti_1p3.consumer import LtiAdvantageConsumer
from lti_consumer.utils import get_data_from_cache

Arguments = dict[str, str]
Answer = str | dict[str, Any] | None
"""What a page answers: an address to go to, a page, JSON, nothing."""

CONTEXT = "ctx-1"
DEEP_LINKING = "LtiDeepLinkingRequest"
MEMBERSHIP = "http://purl.imsglobal.org/vocab/lis/v2/membership#"
MEMBERSHIPS_SCOPE = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
TOOL_CONFIGURATION = "https://purl.imsglobal.org/spec/lti-tool-configuration"


def form_page(action: str, fields: Mapping[str, str], *, sent: bool = False) -> str:
    """A page with a form that is sent by itself, or by its button."""
    inputs = "".join(
        f'<input type=hidden name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in fields.items()
    )
    script = "<script>document.forms[0].submit()</script>" if sent else ""
    return (
        f'<!doctype html><title>Platform</title><form method=post action="{html.escape(action)}">'
        f"{inputs}<button>Go on</button></form>{script}"
    )


class Platform:
    """What both platforms have in common; `url` is the issuer.

    `log` holds the requests that came, as (method, path, arguments); `items` what a deep linking
    answer brought; `registrations` what tools asked to be. `tamper` may change the fields of a
    launch before they are sent.

    With `tls`, (key, certificate), browsers find it at `site` such as https://moodle.example, if
    they are told that this is `tls_port` of this machine.
    """

    def __init__(
        self,
        *,
        login_url: str,
        launch_url: str,
        redirect_uris: Sequence[str] = (),
        tool_jwks_url: str | None = None,
        port: int | None = None,
        client_id: str = "",
        deployment: str = "dep-1",
        site: str = "",
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.port = port or free_ports(1)[0]
        self._inside = f"http://127.0.0.1:{self.port}"
        self.url = site or self._inside
        self._tls = tls
        self.tls_port = free_ports(1)[0] if tls else 0
        self.login_url = login_url
        self.launch_url = launch_url
        self.redirect_uris = list(redirect_uris) or [launch_url]
        self.tool_jwks_url = tool_jwks_url
        self.client_id = client_id or f"client-{uuid.uuid4().hex[:8]}"
        self.deployment = deployment
        self.members: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] | None = None
        self.registrations: list[dict[str, Any]] = []
        self.registration_token = uuid.uuid4().hex
        self.log: list[tuple[str, str, Arguments]] = []
        self.tamper: Callable[[dict[str, str]], dict[str, str]] | None = None
        self.change_keys()

    def change_keys(self) -> None:
        """From now on, sign with a new key of a new name."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.private_key, self.public_key = private_pem(key).decode(), public_pem(key).decode()
        self.key_id = f"key-{uuid.uuid4().hex[:8]}"

    @property
    def authorization_url(self) -> str:
        """On the host of the key set, as with real platforms: `site` is known to browsers only."""
        return f"https://127.0.0.1:{self.tls_port}/auth" if self._tls else f"{self.url}/auth"

    @property
    def token_url(self) -> str:
        return f"{self._inside}/token"

    @property
    def jwks_url(self) -> str:
        return f"{self._inside}/jwks"

    @property
    def configuration_url(self) -> str:
        """For dynamic registration."""
        return f"{self.url}/configuration"

    def start_url(self, user: str, **arguments: str) -> str:
        """Where a browser begins a launch.

        Arguments: `role` (each platform's own words), `message` (`DEEP_LINKING`), `target` (the
        target_link_uri), `link` (the resource link's id), `name`, `email`, `username`, and
        `custom_X` for the custom parameter X.
        """
        return f"{self.url}/start?{urlencode({'user': user, **arguments})}"

    def frame_url(self, user: str, **arguments: str) -> str:
        """The same inside a frame of the platform's page."""
        return f"{self.url}/frame?{urlencode({'user': user, **arguments})}"

    def __enter__(self) -> Self:
        self._servers = [ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))]
        if self._tls:
            key, certificate = self._tls
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            protected = ThreadingHTTPServer(("127.0.0.1", self.tls_port), _handler(self))
            protected.socket = context.wrap_socket(protected.socket, server_side=True)
            self._servers.append(protected)
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def answer(self, path: str, arguments: Arguments, headers: Mapping[str, str]) -> Answer:
        """What a page of the platform answers; None: there is none."""
        match path:
            case "/start":
                return self.start(arguments)
            case "/frame":
                address = html.escape(f"{self.url}/start?{urlencode(arguments)}")
                return (
                    f'<title>Course</title><iframe width=900 height=600 src="{address}"></iframe>'
                )
            case "/auth":
                return self.authorize(arguments)
            case "/jwks":
                return self.key_set()
            case "/token":
                return self.access_token(arguments)
            case "/members":
                self.check_token(headers["Authorization"].split()[1])
                context = {"id": CONTEXT}
                return {
                    "id": f"{self.url}/members",
                    "context": context,
                    "members": self.members,
                }
            case "/dl_return":
                self.items = self.deep_linking_items(arguments)
                return "<title>Course</title><h1>Back in the course</h1>"
            case "/configuration":
                return self.configuration()
        return None

    def start(self, arguments: Arguments) -> str:
        """The address of the tool's login initiation."""
        raise NotImplementedError

    def authorize(self, arguments: Arguments) -> str:
        """The page that posts the launch."""
        raise NotImplementedError

    def key_set(self) -> dict[str, Any]:
        raise NotImplementedError

    def access_token(self, arguments: Arguments) -> dict[str, Any]:
        raise NotImplementedError

    def check_token(self, token: str) -> None:
        raise NotImplementedError

    def deep_linking_items(self, arguments: Arguments) -> list[dict[str, Any]]:
        """What a tool's answer brings. Raises where it is not right."""
        raise NotImplementedError

    def configuration(self) -> dict[str, Any]:
        """LTI Dynamic Registration 1.0 §2.1, as Moodle answers."""
        return {
            "issuer": self.url,
            "authorization_endpoint": self.authorization_url,
            "token_endpoint": self.token_url,
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS256"],
            "jwks_uri": self.jwks_url,
            "registration_endpoint": f"{self.url}/register",
            "scopes_supported": ["openid", MEMBERSHIPS_SCOPE],
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": ["sub", "iss", "name", "given_name", "family_name", "email"],
            "https://purl.imsglobal.org/spec/lti-platform-configuration": {
                "product_family_code": "moodle",
                "version": "4.5",
                "messages_supported": [
                    {"type": "LtiResourceLinkRequest"},
                    {"type": DEEP_LINKING, "placements": ["ContentArea"]},
                ],
                "variables": [],
            },
        }

    def register(self, request: dict[str, Any], authorization: str) -> dict[str, Any]:
        """A tool registers itself; it is used as it asked to be."""
        assert authorization == f"Bearer {self.registration_token}", "another registration token"
        tool = request[TOOL_CONFIGURATION]
        self.registrations.append(request)
        self.login_url = request["initiate_login_uri"]
        self.launch_url = tool["target_link_uri"]
        self.redirect_uris = list(request["redirect_uris"])
        self.tool_jwks_url = request["jwks_uri"]
        return {
            **request,
            "client_id": self.client_id,
            TOOL_CONFIGURATION: {**tool, "deployment_id": self.deployment},
        }


class EdxPlatform(Platform):
    """Open edX. `role`: student, instructor, staff, guest. It starts a login with GET."""

    def _consumer(self, launch_url: str = "") -> LtiAdvantageConsumer:
        consumer = LtiAdvantageConsumer(
            iss=self.url,
            lti_oidc_url=self.login_url,
            lti_launch_url=launch_url or self.launch_url,
            client_id=self.client_id,
            deployment_id=self.deployment,
            rsa_key=self.private_key,
            rsa_key_id=self.key_id,
            redirect_uris=self.redirect_uris,
            tool_keyset_url=self.tool_jwks_url,
        )
        consumer.enable_deep_linking(self.launch_url, f"{self.url}/dl_return")
        consumer.enable_nrps(f"{self.url}/members")
        return consumer

    def start(self, arguments: Arguments) -> str:
        custom = {k.removeprefix("custom_"): v for k, v in arguments.items() if "custom_" in k}
        launch = Lti1p3LaunchData(
            user_id=arguments["user"],
            user_role=arguments.get("role", "student"),
            config_id=arguments.get("target", ""),  # comes back unread: it keeps our target
            resource_link_id=arguments.get("link", "rl-1"),
            name=arguments.get("name"),
            email=arguments.get("email"),
            preferred_username=arguments.get("username"),
            message_type=arguments.get("message", "LtiResourceLinkRequest"),
            context_id=CONTEXT,
            context_title="Algorithmique",
            context_label="ALGO",
            custom_parameters=custom,
        )
        return str(self._consumer(arguments.get("target", "")).prepare_preflight_url(launch))

    def authorize(self, arguments: Arguments) -> str:
        launch = get_data_from_cache(arguments["lti_message_hint"])
        assert arguments["login_hint"] == launch.user_id, "login_hint did not come back as it went"
        consumer = self._consumer(launch.config_id)
        consumer.set_user_data(
            launch.user_id,
            launch.user_role,
            full_name=launch.name,
            email_address=launch.email,
            preferred_username=launch.preferred_username,
        )
        consumer.set_resource_link_claim(launch.resource_link_id, title="TP 1")
        consumer.set_launch_presentation_claim("iframe", f"{self.url}/return")
        kind = edx_constants.LTI_1P3_CONTEXT_TYPE.course_offering
        consumer.set_context_claim(
            launch.context_id, [kind], launch.context_title, launch.context_label
        )
        if launch.custom_parameters:
            consumer.set_custom_parameters(launch.custom_parameters)
        fields = consumer.generate_launch_request(arguments)
        if self.tamper:
            fields = self.tamper(fields)
        return form_page(arguments["redirect_uri"], fields, sent=True)

    def key_set(self) -> dict[str, Any]:
        return dict(self._consumer().get_public_keyset())

    def access_token(self, arguments: Arguments) -> dict[str, Any]:
        return dict(self._consumer().access_token(arguments))

    def check_token(self, token: str) -> None:
        assert self._consumer().check_token(token, [MEMBERSHIPS_SCOPE])

    def deep_linking_items(self, arguments: Arguments) -> list[dict[str, Any]]:
        items = self._consumer().check_and_decode_deep_linking_token(arguments["JWT"])
        return list(items)


class P13Platform(Platform):
    """lti1p3platform. `role`: URIs, separated by commas (without it: Learner)."""

    data: str | None = "opaque-data-42"
    """What a deep linking request brings for the tool to give back."""

    def _configuration(self) -> LTI1P3PlatformConfAbstract:
        registration = (
            Registration()
            .set_iss(self.url)
            .set_client_id(self.client_id)
            .set_deployment_id(self.deployment)
            .set_oidc_login_url(self.login_url)
            .set_launch_url(self.launch_url)
            .set_deeplink_launch_url(self.launch_url)
            .set_platform_private_key(self.private_key)
            .set_platform_public_key(self.public_key)
        )
        if self.tool_jwks_url:
            registration.set_tool_key_set_url(self.tool_jwks_url)
        configuration = _Configuration(registration=registration)
        configuration.get_registration()
        return configuration

    def start(self, arguments: Arguments) -> str:
        login = _Login(None, self._configuration())
        if "target" in arguments:
            login.set_launch_url(arguments["target"])
        login.set_lti_message_hint(**arguments)
        return str(login.initiate_login(arguments["user"]))

    def authorize(self, arguments: Arguments) -> str:
        # the library does not look at it
        assert arguments["redirect_uri"] in self.redirect_uris, "redirect_uri is not registered"
        return str(_Launch(arguments, self._configuration(), platform=self).lti_launch())

    def key_set(self) -> dict[str, Any]:
        return dict(self._configuration().get_jwks())

    def access_token(self, arguments: Arguments) -> dict[str, Any]:
        return dict(self._configuration().get_access_token(arguments))

    def check_token(self, token: str) -> None:
        assert self._configuration().validate_token(token, [MEMBERSHIPS_SCOPE])

    def deep_linking_items(self, arguments: Arguments) -> list[dict[str, Any]]:
        return list(self._configuration().validate_deeplinking_resp(arguments))


class _Configuration(LTI1P3PlatformConfAbstract):
    def init_platform_config(self, *, registration: Registration) -> None:
        self._ours = registration

    def get_registration_by_params(self, **unused: Any) -> Registration:
        return self._ours


class _Login(OIDCLoginAbstract):
    def set_lti_message_hint(self, **kwargs: Any) -> None:
        self._lti_message_hint = json.dumps(kwargs)

    def get_redirect(self, url: str) -> str:
        return url


class _Launch(LTIAdvantageMessageLaunchAbstract):
    def __init__(self, *arguments: Any, platform: P13Platform) -> None:
        super().__init__(*arguments)
        self._platform = platform

    def get_preflight_response(self) -> dict[str, Any]:
        return dict(self._request)

    def render_launch_form(self, launch_data: Any, **unused: Any) -> str:
        fields = {"state": launch_data["state"], "id_token": launch_data["id_token"]}
        if self._platform.tamper:
            fields = self._platform.tamper(fields)
        return form_page(launch_data["launch_url"], fields, sent=True)

    def prepare_launch(self, preflight_response: dict[str, Any]) -> None:
        asked: Arguments = json.loads(preflight_response["lti_message_hint"])
        roles = asked.get("role", f"{MEMBERSHIP}Learner")
        self.set_user_data(
            preflight_response["login_hint"],
            [role for role in roles.split(",") if role],
            full_name=asked.get("name"),
            email_address=asked.get("email"),
            preferred_username=asked.get("username"),
        )
        if asked.get("message") == DEEP_LINKING:
            url = f"{self._platform.url}/dl_return"
            data = self._platform.data
            self.set_dl(url, **({} if data is None else {"extra_data": data}))
        else:
            self.set_resource_link_claim(asked.get("link", "rl-1"), title="TP 1")
            if "target" in asked:
                self.set_launch_url(asked["target"])
        kind = "http://purl.imsglobal.org/vocab/lis/v2/course#CourseOffering"
        self.set_launch_context_claim(CONTEXT, [kind], "Algorithmique", "ALGO")
        self.set_nrps(f"{self._platform.url}/members")
        custom = {k.removeprefix("custom_"): v for k, v in asked.items() if "custom_" in k}
        if custom:
            self.set_custom_parameters_claim(custom)


def _handler(platform: Platform) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            try:
                answer: Answer
                if address.path == "/register":
                    authorization = self.headers.get("Authorization", "")
                    answer = platform.register(json.loads(body), authorization)
                else:
                    arguments = dict(parse_qsl(address.query, keep_blank_values=True))
                    arguments |= dict(parse_qsl(body, keep_blank_values=True))
                    platform.log.append((self.command, address.path, arguments))
                    answer = platform.answer(address.path, arguments, self.headers)
            except Exception as error:  # a library has refused: what it says is the answer
                self._send(400, f"{type(error).__name__}: {error}", "text/plain; charset=utf-8")
                return
            if answer is None:
                self._send(404, "", "text/plain")
            elif isinstance(answer, dict):
                self._send(200, json.dumps(answer), "application/json")
            elif answer.startswith(("http://", "https://")):
                self.send_response(302)
                self.send_header("Location", answer)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._send(200, answer, "text/html; charset=utf-8")

        def _send(self, status: int, text: str, kind: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def edx_lti11(
    url: str,
    key: str,
    secret: str,
    user: str,
    roles: str,
    *,
    link: str = "rl-1",
    custom: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The signed fields of an LTI 1.1 launch, by Open edX."""
    consumer = LtiConsumer1p1(url, key, secret)
    consumer.set_user_data(
        user,
        roles,
        "res-1",
        person_contact_email_primary=f"{user}@example.invalid",
        person_name_full=f"{user.capitalize()} Éàü",
    )
    consumer.set_context_data(CONTEXT, "Algorithmique", "ALGO")
    if custom:
        consumer.set_custom_parameters({f"custom_{k}": v for k, v in custom.items()})
    return dict(consumer.generate_launch_request(link))


def pylti_lti11(
    url: str, key: str, secret: str, user: str, roles: str, **more: str
) -> dict[str, str]:
    """The same by PyPI's `lti`; `more` are further parameters, such as `custom_environment`."""
    parameters = {
        "lti_message_type": "basic-lti-launch-request",
        "lti_version": "LTI-1p0",
        "resource_link_id": "rl-1",
        "context_id": CONTEXT,
        "user_id": user,
        "roles": roles,
        **more,
    }
    consumer = ToolConsumer(
        consumer_key=key, consumer_secret=secret, launch_url=url, params=parameters
    )
    return dict(consumer.generate_launch_data())
