"""ID tokens: which are taken, which are not, and what is read of a person.

Each table begins with the honest token, which is taken; every other row changes one thing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import string
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain.environment import Text
from mydocker_hub.domain.errors import Refused
from mydocker_hub.identity import oidc
from mydocker_hub.identity.attributes import several
from mydocker_hub.identity.claims import Claims, Door
from mydocker_hub.identity.settings import ClaimNames, OpenIdProvider

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
BEGAN = NOW - timedelta(minutes=2)
TOLERANCE = timedelta(minutes=3)
ISSUER = "https://idp.univ.example"
MISSING = object()

PROVIDER = OpenIdProvider(
    name="univ",
    title=Text(fr="Université", en="University"),
    issuer=ISSUER,
    client_id="mydocker",
    client_secret_file=Path("/nowhere"),
)


def at(minutes: float) -> float:
    return (NOW + timedelta(minutes=minutes)).timestamp()


HONEST: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "mydocker",
    "sub": "a1b2",
    "nonce": "n-1",
    "iat": at(0),
    "exp": at(5),
}


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(curve: str = "P-256") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}[curve])


def jwk(key: Any, **entries: Any) -> dict[str, Any]:
    algorithm = (
        jwt.algorithms.RSAAlgorithm
        if isinstance(key, rsa.RSAPrivateKey)
        else jwt.algorithms.ECAlgorithm
    )
    public = algorithm.to_jwk(key.public_key(), as_dict=True)
    public.pop("key_ops", None)
    return {**public, "use": "sig", "kid": "k1", **entries}


def keys(*entries: dict[str, Any]) -> tuple[oidc.SigningKey, ...]:
    return oidc.signing_keys({"keys": list(entries)})


def token(claims: Any = None, key: Any = None, algorithm: str = "RS256", **header: Any) -> str:
    payload = json.dumps(HONEST if claims is None else claims).encode()
    header = {"kid": "k1", **header}
    header = {name: value for name, value in header.items() if value is not MISSING}
    return jwt.PyJWS().encode(payload, key or rsa_key(), algorithm, headers=header)


def by_hand(header: dict[str, Any], claims: Any, signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts)


def refusal(token_: Any, keys_: Any = None) -> str:
    with pytest.raises((Refused, oidc.UnknownKey)) as raised:
        oidc.verify(token_, keys(jwk(rsa_key())) if keys_ is None else keys_, PROVIDER)
    if isinstance(raised.value, oidc.UnknownKey):
        return "unknown key"
    assert isinstance(raised.value, Refused)
    assert raised.value.params["provider"] == PROVIDER.title
    return raised.value.code


# --- signature -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "key", "entries"),
    [
        ("RS256", rsa_key, {}),
        ("RS256", rsa_key, {"alg": "RS256"}),
        ("RS512", rsa_key, {}),
        ("PS384", rsa_key, {"alg": "PS384"}),
        ("ES256", ec_key, {}),
        ("ES384", lambda: ec_key("P-384"), {}),
    ],
)
def test_signatures_that_hold(algorithm: str, key: Any, entries: dict[str, Any]) -> None:
    signed = token(key=key(), algorithm=algorithm)
    verified = oidc.verify(signed, keys(jwk(key(), **entries)), PROVIDER)
    assert verified.claims == HONEST
    assert verified.algorithm == algorithm
    header, _, signature = signed.split(".")
    other = by_hand({}, {**HONEST, "sub": "mallory"}).split(".")[1]
    assert refusal(f"{header}.{other}.{signature}", keys(jwk(key(), **entries))) == "unknown key"


def test_no_algorithm_of_the_sender_s_choice() -> None:
    """`none`, and a public key used as a shared secret, in every shape that it is published in."""
    oidc.verify(token(), keys(jwk(rsa_key())), PROVIDER)
    public = rsa_key().public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for alg in ("none", "None", "nOnE", "", None, 1, ["RS256"], {"a": 1}):
        assert refusal(by_hand({"alg": alg, "kid": "k1"}, HONEST)) == "sign-in-message-invalid"
    for secret in (pem, pem.strip(), der, json.dumps(jwk(rsa_key())).encode()):
        for alg, digest in (("HS256", "sha256"), ("HS512", "sha512")):
            unsigned = by_hand({"alg": alg, "kid": "k1"}, HONEST).rpartition(".")[0]
            mac = hmac.new(secret, unsigned.encode(), digest).digest()
            forged = f"{unsigned}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
            assert refusal(forged) == "sign-in-message-invalid"


def test_shared_secrets_in_the_key_set_are_no_keys() -> None:
    secret = b"only-for-tests-only-for-tests-only"
    octets = {"kty": "oct", "k": base64.urlsafe_b64encode(secret).decode(), "kid": "k1"}
    assert keys(octets, {**octets, "alg": "RS256"}, {**octets, "kty": ["RSA"]}) == ()
    assert len(keys(octets, jwk(rsa_key()))) == 1


@pytest.mark.parametrize(
    "entry",
    [
        {"use": "enc"},
        {"alg": "RSA-OAEP"},
        {"alg": "HS256"},
        {"n": "!"},
        {"n": 5},
        {"e": None},
        {"kid": 7},
        {"d": "private"},
        {"kty": "EC"},
        {"kty": "EC", "crv": "secp256k1"},
        {"kty": "OKP"},
        {"kty": None},
    ],
)
def test_keys_that_are_left_out(entry: dict[str, Any]) -> None:
    assert len(keys(jwk(rsa_key()))) == 1
    assert keys({**jwk(rsa_key()), **entry}) == ()


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": [1, None, []]}, "keys"])
def test_documents_without_keys(document: Any) -> None:
    assert oidc.signing_keys(document) == ()


def test_keys_that_do_not_fit_are_not_tried() -> None:
    for entries, signed in (
        (jwk(rsa_key(), alg="PS256"), token()),  # a key says what it is for
        (jwk(ec_key()), token()),
        (jwk(rsa_key(), kid="k2"), token()),
        (jwk(ec_key("P-384")), token(key=ec_key("P-384"), algorithm="ES384", kid="k9")),
    ):
        with pytest.raises(oidc.UnknownKey):
            oidc.verify(signed, keys(entries), PROVIDER)


def test_which_keys_fit() -> None:
    rs = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    for entry, fitting in (
        (jwk(rsa_key()), rs),
        (jwk(rsa_key(), alg="RS256"), {"RS256"}),
        (jwk(ec_key()), {"ES256"}),
        (jwk(ec_key("P-384")), {"ES384"}),
        (jwk(ec_key("P-384"), alg="ES256"), set()),
    ):
        found = {name for key in keys(entry) for name in oidc.ALGORITHMS if key.fits(name)}
        assert found == fitting


@pytest.mark.filterwarnings("ignore:The RSA key")
def test_short_rsa_keys_are_not_taken() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(oidc.UnknownKey):
        oidc.verify(token(key=weak), keys(jwk(weak)), PROVIDER)


def test_tokens_without_kid() -> None:
    """OpenID Connect Core §10.1: a set of several keys needs kid in the token."""
    without = token(kid=MISSING)
    bare = {name: value for name, value in jwk(rsa_key()).items() if name != "kid"}
    for entries in (jwk(rsa_key()), bare):
        assert oidc.verify(without, keys(entries, jwk(ec_key())), PROVIDER).claims == HONEST
    other = jwk(rsa.generate_private_key(public_exponent=65537, key_size=2048), kid="k2")
    assert refusal(without, keys(jwk(rsa_key()), other)) == "sign-in-message-invalid"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "a.b",
        "a.b.c",
        "a.b.c.d.e",
        5,
        {"a": 1},
        "é.é.é",
        "." * 50_000,
        by_hand({"alg": "RS256", "kid": "k1", "crit": ["x"]}, HONEST),
        by_hand({"alg": "RS256", "kid": ["k1"]}, HONEST),
    ],
)
def test_what_is_no_token(text: Any) -> None:
    assert refusal(text) == "sign-in-message-invalid"


def test_signed_things_that_are_no_claims() -> None:
    for claims in ([], "x", 5, None):
        signed = jwt.PyJWS().encode(
            json.dumps(claims).encode(), rsa_key(), "RS256", headers={"kid": "k1"}
        )
        assert refusal(signed) == "sign-in-message-invalid"
    for raw in (b"[" * 50_000, b"\xff\xfe", b"{", b'{"exp": ' + b"9" * 5000 + b"}"):
        signed = jwt.PyJWS().encode(raw, rsa_key(), "RS256", headers={"kid": "k1"})
        assert refusal(signed) == "sign-in-message-invalid"


def test_a_token_of_a_megabyte() -> None:
    oidc.verify(token({**HONEST, "x": "y" * 10_000}), keys(jwk(rsa_key())), PROVIDER)
    huge = token({**HONEST, "x": "y" * 1_000_000})
    assert refusal(huge) == "sign-in-message-invalid"


@pytest.mark.parametrize("crit", [["b64"], ["exp"], [], None])
def test_extensions_of_the_header_are_not_taken(crit: Any) -> None:
    """RFC 7515 §4.1.11: who does not know an extension that is critical refuses the token."""
    signed = by_hand({"alg": "RS256", "kid": "k1", "crit": crit}, HONEST).rpartition(".")[0]
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(
        signed.encode(), rsa_key()
    )
    encoded = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    assert refusal(f"{signed}.{encoded}") == "sign-in-message-invalid"


def test_keys_in_the_header_are_not_looked_at() -> None:
    mine = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = token({**HONEST, "sub": "admin"}, key=mine, jwk=jwk(mine), jku="https://evil.example")
    assert refusal(forged) == "unknown key"


# --- claims --------------------------------------------------------------------------------------


def check(changed: dict[str, Any], algorithm: str = "RS256", **options: Any) -> str:
    claims = {**HONEST, **changed}
    claims = {name: value for name, value in claims.items() if value is not MISSING}
    return oidc.check(
        oidc.Verified(algorithm, claims),
        options.pop("provider", PROVIDER),
        nonce="n-1",
        access_token="at-1",
        began_at=options.pop("began_at", BEGAN),
        now=options.pop("now", NOW),
        tolerance=TOLERANCE,
    ).subject


def at_hash(algorithm: str, text: str = "at-1") -> str:
    digest = hashlib.new(f"sha{algorithm[2:]}", text.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"aud": ["mydocker"]},
        {"aud": ["mydocker"], "azp": "mydocker"},
        {"aud": ["other", "mydocker"], "azp": "mydocker"},
        {"nbf": at(0)},
        {"nbf": at(2)},
        {"iat": at(2.9), "exp": at(8)},
        {"iat": at(-2.9), "exp": at(-2.9)},
        {"iat": at(0) + 0.25},
        {"at_hash": at_hash("RS256")},
        {"exp": at(60 * 24)},
        {"sub": "x" * 255},
        {"sub": "Jérôme Dupont"},
    ],
)
def test_claims_that_are_taken(changed: dict[str, Any]) -> None:
    assert check(changed) == changed.get("sub", "a1b2")


@pytest.mark.parametrize("algorithm", sorted(oidc.ALGORITHMS))
def test_at_hash(algorithm: str) -> None:
    assert check({"at_hash": at_hash(algorithm)}, algorithm) == "a1b2"
    for wrong in (at_hash(algorithm, "at-2"), "", 5, at_hash(algorithm)[:-1]):
        with pytest.raises(Refused) as raised:
            check({"at_hash": wrong}, algorithm)
        assert raised.value.code == "sign-in-message-invalid"


def test_at_hash_as_openid_connect_core_defines_it() -> None:
    """A value that this code did not make: access token and hash of a public test vector."""
    # OpenID Connect Core appendix A.3 / A.4: the access token of the response, and its at_hash.
    verified = oidc.Verified("RS256", {**HONEST, "at_hash": "77QmUPtjPfzWtF2AnpK9RQ"})
    checked = oidc.check(
        verified,
        PROVIDER,
        nonce="n-1",
        access_token="jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y",
        began_at=BEGAN,
        now=NOW,
        tolerance=TOLERANCE,
    )
    assert checked.subject == "a1b2"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"iss": "https://idp.univ.example/"}, "sign-in-message-invalid"),
        ({"iss": "https://IDP.univ.example"}, "sign-in-message-invalid"),
        ({"iss": "https://evil.example"}, "sign-in-message-invalid"),
        ({"iss": [ISSUER]}, "sign-in-message-invalid"),
        ({"iss": MISSING}, "sign-in-message-invalid"),
        ({"aud": "other"}, "sign-in-not-for-us"),
        ({"aud": "mydocker2"}, "sign-in-not-for-us"),
        ({"aud": ["other"]}, "sign-in-not-for-us"),
        ({"aud": []}, "sign-in-not-for-us"),
        ({"aud": {"mydocker": 1}}, "sign-in-not-for-us"),
        ({"aud": MISSING}, "sign-in-not-for-us"),
        ({"aud": ["mydocker", "other"]}, "sign-in-not-for-us"),
        ({"aud": ["mydocker", "other"], "azp": "other"}, "sign-in-not-for-us"),
        ({"azp": "other"}, "sign-in-not-for-us"),
        ({"azp": ["mydocker"]}, "sign-in-not-for-us"),
        ({"nonce": "n-2"}, "sign-in-message-invalid"),
        ({"nonce": ""}, "sign-in-message-invalid"),
        ({"nonce": ["n-1"]}, "sign-in-message-invalid"),
        ({"nonce": MISSING}, "sign-in-message-invalid"),
        ({"iat": at(3.1), "exp": at(8)}, "sign-in-clock"),
        ({"iat": at(60 * 24 * 365 * 20), "exp": at(60 * 24 * 365 * 21)}, "sign-in-clock"),
        ({"nbf": at(3.1)}, "sign-in-clock"),
        ({"iat": at(-15), "exp": at(-10)}, "sign-in-clock"),
        ({"iat": at(-4), "exp": at(-3)}, "sign-in-message-expired"),
        ({"iat": MISSING}, "sign-in-message-invalid"),
        ({"exp": MISSING}, "sign-in-message-invalid"),
        ({"exp": str(at(5))}, "sign-in-message-invalid"),
        ({"exp": True}, "sign-in-message-invalid"),
        ({"exp": float("inf")}, "sign-in-message-invalid"),
        ({"exp": float("nan")}, "sign-in-message-invalid"),
        ({"exp": 10**30}, "sign-in-message-invalid"),
        ({"iat": -1}, "sign-in-message-invalid"),
        ({"nbf": None}, "sign-in-message-invalid"),
        ({"nbf": "now"}, "sign-in-message-invalid"),
        ({"nbf": at(6)}, "sign-in-message-invalid"),
        ({"sub": MISSING}, "sign-in-no-identifier"),
        ({"sub": ""}, "sign-in-no-identifier"),
        ({"sub": None}, "sign-in-no-identifier"),
        ({"sub": 5}, "sign-in-message-invalid"),
        ({"sub": ["a1b2"]}, "sign-in-message-invalid"),
        ({"sub": " a1b2"}, "sign-in-message-invalid"),
        ({"sub": "a\x00b"}, "sign-in-message-invalid"),
        ({"sub": "a\nb"}, "sign-in-message-invalid"),
        ({"sub": "a\u202eb"}, "sign-in-message-invalid"),
        ({"sub": "a\ud800"}, "sign-in-message-invalid"),
        ({"sub": "x" * 256}, "sign-in-message-invalid"),
        ({"sub": "x" * 5000}, "sign-in-message-invalid"),
    ],
)
def test_claims_that_are_refused(changed: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as raised:
        check(changed)
    assert raised.value.code == code
    assert raised.value.params["provider"] == PROVIDER.title


def test_whose_clock_is_off_is_said() -> None:
    with pytest.raises(Refused) as raised:
        check({"iat": at(12), "exp": at(17)})
    params = raised.value.params
    assert (params["ours"], params["theirs"]) == (NOW, NOW + timedelta(minutes=12))
    assert params["difference"] == timedelta(minutes=12)


def test_a_foreign_message_is_not_explained_by_its_clock() -> None:
    """Who did not answer our attempt learns nothing of our clock."""
    with pytest.raises(Refused) as raised:
        check({"iat": at(12), "exp": at(17), "nonce": "of another"})
    assert raised.value.code == "sign-in-message-invalid"


def test_userinfo_of_somebody_else() -> None:
    oidc.check_userinfo({"sub": "a1b2"}, "a1b2", PROVIDER)
    for userinfo in ({"sub": "mallory"}, {}, {"sub": ["a1b2"]}, {"sub": "A1B2"}):
        with pytest.raises(Refused) as raised:
            oidc.check_userinfo(userinfo, "a1b2", PROVIDER)
        assert raised.value.code == "sign-in-message-invalid"


# --- what is read of a person --------------------------------------------------------------------


def read(said: dict[str, Any], provider: OpenIdProvider = PROVIDER) -> Claims:
    return oidc.claims(provider, "a1b2", {}, said)


def test_everything() -> None:
    assert read(
        {
            "name": "Bob Éàü",
            "given_name": "Bob",
            "family_name": "Éàü",
            "email": "bob@univ.example",
            "eduperson_affiliation": ["member", "faculty"],
            "eduperson_scoped_affiliation": ["faculty@univ.example", "staff@univ.example"],
            "eduperson_primary_affiliation": "faculty",
            "eduperson_principal_name": "Bob@Univ.example",
            "schac_home_organization": "univ.example",
            "preferred_username": "admin",
        }
    ) == Claims(
        door=Door.OIDC,
        provider="univ",
        issuer=ISSUER,
        identifiers=(("sub", "a1b2"),),
        display_name="Bob Éàü",
        given_name="Bob",
        family_name="Éàü",
        mail="bob@univ.example",
        institution="univ.example",
        affiliations=("member", "faculty", "staff"),
        primary_affiliation="faculty",
        values={"eduPersonPrincipalName": "bob@univ.example"},
    )


@pytest.mark.parametrize(
    ("value", "affiliations"),
    [
        ("student", ("student",)),
        (["student"], ("student",)),
        (["member", "student"], ("member", "student")),
        ("member,student", ("member", "student")),
        ("member; student", ("member", "student")),
        (["member; student", "student"], ("member", "student")),
        ("", ()),
        (" ; ,", ()),
        (None, ()),
        (5, ()),
        ({"student": True}, ()),
        ([["student"], 5, None, "staff"], ("staff",)),
        (["a\x00b", "staff"], ("staff",)),
        (["x" * 256, "staff"], ("staff",)),
    ],
)
def test_affiliations_however_they_are_sent(value: Any, affiliations: tuple[str, ...]) -> None:
    assert read({"eduperson_affiliation": value}).affiliations == affiliations
    scoped = read({"eduperson_scoped_affiliation": value}).affiliations
    assert scoped == affiliations


def test_a_single_affiliation_is_not_letters() -> None:
    """Upstream makes the groups s, t, u, d, e, n of it."""
    assert read({"eduperson_scoped_affiliation": "student@a.example"}).affiliations == ("student",)
    assert read({"eduperson_scoped_affiliation": "@a.example"}).affiliations == ()


def test_claim_names_of_the_configuration() -> None:
    names = ClaimNames(display_name="displayName", affiliations="roles")
    provider = PROVIDER.model_copy(update={"claims": names})
    claims = read({"displayName": "Bob", "roles": "staff", "name": "Not he"}, provider)
    assert (claims.display_name, claims.affiliations) == ("Bob", ("staff",))


@pytest.mark.parametrize(
    "principal", ["admin", "a@b@c", "", ["a@b.example", "c@b.example"], "a\n@b.example", 5]
)
def test_a_principal_name_that_is_none(principal: Any) -> None:
    assert read({"eduperson_principal_name": ["A@b.example"]}).values
    assert read({"eduperson_principal_name": principal}).values == {}


def test_the_id_token_where_userinfo_says_nothing() -> None:
    claims = oidc.claims(PROVIDER, "a1b2", {"name": "Token", "email": "t@u.example"}, {"name": "U"})
    assert (claims.display_name, claims.mail) == ("U", "t@u.example")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
said_names = st.sampled_from([*ClaimNames().model_dump().values(), "sub", "x"])


@settings(deadline=None)
@given(st.dictionaries(said_names, json_values))
def test_whatever_is_said_can_be_shown(said: dict[str, Any]) -> None:
    claims = read(said)
    assert claims.identifiers == (("sub", "a1b2"),)
    shown = [claims.display_name, claims.mail, *claims.affiliations, *claims.values.values()]
    assert all(text == "" or text.isprintable() for text in shown)
    claims.model_dump_json()


@settings(deadline=None)
@given(st.lists(st.text(string.ascii_letters + "@.- ", min_size=1, max_size=20), max_size=10))
def test_the_same_values_however_they_are_joined(values: list[str]) -> None:
    assert several(values) == several(";".join(values)) == several(",".join(values))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*HONEST, "nbf", "azp", "at_hash"]), json_values))
def test_no_claim_breaks_the_check(changed: dict[str, Any]) -> None:
    with suppress(Refused):
        check(changed)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["kty", "n", "e", "x", "y", "crv", "alg", "kid"]), json_values)
)
def test_no_key_set_breaks_the_reading(entry: dict[str, Any]) -> None:
    oidc.signing_keys({"keys": [{**jwk(rsa_key()), **entry}, {**jwk(ec_key()), **entry}]})


@settings(deadline=None)
@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_text_breaks_the_signature_check(text: str) -> None:
    assert refusal(text) == "sign-in-message-invalid"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("access_denied", oidc.REASONS["access_denied"]),
        ("invalid_grant", oidc.REASONS["invalid_grant"]),
        ("interaction_timeout", "interaction_timeout"),
        ("Your account is locked, call 0800", oidc.NO_REASON),
        ("<script>", oidc.NO_REASON),
        ("x" * 41, oidc.NO_REASON),
        ("a\nb", oidc.NO_REASON),
        ("", oidc.NO_REASON),
        (None, oidc.NO_REASON),
        (["access_denied"], oidc.NO_REASON),
    ],
)
def test_reasons(error: Any, said: str) -> None:
    assert oidc.reason(error) == said


def test_several_providers_do_not_share_people() -> None:
    other = PROVIDER.model_copy(update={"name": "other", "issuer": "https://other.example"})
    assert read({}, other).issuer != read({}).issuer
