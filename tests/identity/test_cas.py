"""Answers of CAS servers: how they are read, and what is read of a person."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from mydocker_hub.domain.environment import Text
from mydocker_hub.domain.errors import Refused
from mydocker_hub.identity import cas
from mydocker_hub.identity.claims import Claims, Door
from mydocker_hub.identity.settings import CasProvider

PROVIDER = CasProvider(
    name="ent",
    title=Text(fr="Mon ENT", en="My campus"),
    url="https://cas.univ.example/cas/",
)
ATTRIBUTES = """
  <cas:attributes>
    <cas:authenticationDate>2026-11-23T09:00:00Z</cas:authenticationDate>
    <cas:displayName>Bob &amp; Éàü</cas:displayName>
    <cas:sn>Éàü</cas:sn>
    <cas:mail>bob@univ.example</cas:mail>
    <cas:eduPersonAffiliation>member</cas:eduPersonAffiliation>
    <cas:eduPersonAffiliation>faculty</cas:eduPersonAffiliation>
    <cas:eduPersonPrimaryAffiliation>faculty</cas:eduPersonPrimaryAffiliation>
    <cas:eduPersonPrincipalName>bob@univ.example</cas:eduPersonPrincipalName>
  </cas:attributes>"""


def answer(inner: str, before: str = "", name: str = "serviceResponse") -> bytes:
    uri = "http://www.yale.edu/tp/cas"
    return f"{before}<cas:{name} xmlns:cas='{uri}'>{inner}</cas:{name}>".encode()


def success(user: str = "<cas:user>bob</cas:user>", more: str = ATTRIBUTES) -> str:
    return f"<cas:authenticationSuccess>{user}{more}</cas:authenticationSuccess>"


def failure(code: str, text: str = "ticket not recognised") -> str:
    return f'<cas:authenticationFailure code="{code}">{text}</cas:authenticationFailure>'


def test_success() -> None:
    read = cas.read(answer(success(), '<?xml version="1.0" encoding="UTF-8"?>\n'))
    assert isinstance(read, cas.Success)
    assert read.attributes["eduPersonAffiliation"] == ["member", "faculty"]
    assert cas.claims(read, PROVIDER) == Claims(
        door=Door.CAS,
        provider="ent",
        issuer="https://cas.univ.example/cas",
        identifiers=(("user", "bob"),),
        display_name="Bob & Éàü",
        family_name="Éàü",
        mail="bob@univ.example",
        affiliations=("member", "faculty"),
        primary_affiliation="faculty",
        values={"eduPersonPrincipalName": "bob@univ.example"},
    )


def test_success_without_attributes() -> None:
    read = cas.read(answer(success(more="")))
    assert read == cas.Success("bob", {})
    assert cas.claims(read, PROVIDER).affiliations == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [*cas.REASONS, "INVALID_SERVICE", "INTERNAL_ERROR", "NEW", ""])
def test_failure(code: str) -> None:
    assert cas.read(answer(failure(code))) == cas.Failure(code)
    assert cas.reason(code) == cas.REASONS.get(code, cas.NO_REASON)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"yes\nbob\n",
        b"no\n\n",
        b"<html><body>Service unavailable</body></html>",
        b'{"serviceResponse": {"authenticationSuccess": {"user": "bob"}}}',
        answer(""),
        answer("<cas:proxySuccess/>"),
        answer(success(), name="other"),
        answer(success()).replace(b"http://www.yale.edu/tp/cas", b"http://evil.example"),
        answer(success() + failure("INVALID_TICKET")),
        answer(success() + success("<cas:user>mallory</cas:user>")),
        answer(success("<cas:user>bob</cas:user><cas:user>mallory</cas:user>")),
        answer(success("")),
        answer(success("<user>bob</user>")),
        answer(success("<cas:user>bob<cas:x/>by</cas:user>")),
        answer(success("<cas:user>bob<!-- --></cas:user>")),
        answer(success("<cas:user>bob<?x y?></cas:user>")),
        answer(success(more=ATTRIBUTES + ATTRIBUTES)),
        answer(success(more="<cas:attributes><!-- --></cas:attributes>")),
        answer(success(more="<cas:proxies><cas:proxy>https://a</cas:proxy></cas:proxies>")),
        answer(success())[:-3],
        answer(success()) + b"<x/>",
        answer(success("<cas:user>bob\x01</cas:user>")),
        answer("<cas:a>" * 5000),
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    assert cas.read(answer(success())) is not None
    assert cas.read(body) is None
    with pytest.raises(Refused) as raised:
        cas.claims(None, PROVIDER)
    assert raised.value.code == "sign-in-message-invalid"


BOMB = "".join(f"<!ENTITY l{i} '{f'&l{i - 1};' * 10}'>" for i in range(1, 10))


@pytest.mark.parametrize(
    ("doctype", "user"),
    [
        ("<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>", "&e;"),
        ("<!DOCTYPE x [<!ENTITY e SYSTEM 'http://127.0.0.1:1/x'>]>", "&e;"),
        ("<!DOCTYPE x [<!ENTITY e 'bob'>]>", "&e;"),
        (f"<!DOCTYPE x [<!ENTITY l0 'ha'>{BOMB}]>", "&l9;"),
        ("<!DOCTYPE x SYSTEM 'http://127.0.0.1:1/x.dtd'>", "bob"),
        ("<!DOCTYPE x [<!ENTITY % p SYSTEM 'file:///etc/passwd'> %p;]>", "bob"),
        ("<!DOCTYPE x>", "bob"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_and_document_types(doctype: str, user: str, encoding: str) -> None:
    honest = answer(success()).decode()
    assert cas.read(f'<?xml version="1.0"?>{honest}'.encode(encoding)) is not None
    body = answer(success(f"<cas:user>{user}</cas:user>"), doctype).decode()
    assert cas.read(body.encode(encoding)) is None


@pytest.mark.parametrize(
    ("user", "identifier"),
    [
        ("jdupont", "jdupont"),
        ("JDupont", "jdupont"),
        (" JDUPONT\n", "jdupont"),
        ("jérôme", "jérôme"),
        # the Kelvin sign and the long s have the lower-case letters k and s, and are other letters
        ("\u212aarl", "\u212aarl"),
        ("\u017fmith", "\u017fmith"),
        ("İ", "İ"),
    ],
)
def test_letter_case_of_users(user: str, identifier: str) -> None:
    claims = cas.claims(cas.Success(user.strip(), {}), PROVIDER)
    assert claims.identifiers == (("user", identifier),)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_two_people_never_become_one(one: str, other: str) -> None:
    """Unless A to Z is all that tells them apart."""

    def identifier(user: str) -> str | None:
        try:
            return cas.claims(cas.Success(user, {}), PROVIDER).identifiers[0][1]
        except Refused:
            return None

    ascii_lower = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
    same = one.translate(ascii_lower) == other.translate(ascii_lower)
    if identifier(one) is not None and identifier(other) is not None:
        assert (identifier(one) == identifier(other)) == same


@pytest.mark.parametrize(
    ("user", "code"),
    [
        ("", "sign-in-no-identifier"),
        ("x" * 256, "sign-in-message-invalid"),
        ("a\u202eb", "sign-in-message-invalid"),
        ("a\nb", "sign-in-message-invalid"),
    ],
)
def test_users_that_are_refused(user: str, code: str) -> None:
    with pytest.raises(Refused) as raised:
        cas.claims(cas.Success(user, {}), PROVIDER)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("ticket", "taken"),
    [
        ("ST-1856339-aA5Yuvrxzpv8Tau1cYQ7", True),
        ("ST-1-x_y.cas-01.univ.example", True),
        ("ST-" + "x" * 256, True),
        ("ST-" + "x" * 257, False),
        ("PT-1856339-aA5Yuvrxzpv8Tau1cYQ7", False),
        ("ST-", False),
        ("", False),
        ("ST-1 2", False),
        ("ST-1\n", False),
        ("ST-1&service=x", False),
        ("ST-é", False),
        ("st-1", False),
    ],
)
def test_tickets(ticket: str, taken: bool) -> None:
    assert cas.is_ticket(ticket) is taken


names = st.sampled_from(["user", "attributes", "proxies", "mail", "eduPersonAffiliation"])
trees: Any = st.recursive(
    st.tuples(names, st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]))),
    lambda inner: st.tuples(names, st.lists(inner, max_size=4)),
)


def element(tree: Any) -> etree._Element:
    made = etree.Element(f"{{http://www.yale.edu/tp/cas}}{tree[0]}")
    if isinstance(tree[1], str):
        made.text = "".join(c for c in tree[1] if c not in "\ufffe\uffff")
    else:
        made.extend([element(child) for child in tree[1]])
    return made


@settings(deadline=None)
@given(st.sampled_from(["authenticationSuccess", "authenticationFailure"]), st.lists(trees))
def test_whatever_is_answered_can_be_shown(kind: str, children: Any) -> None:
    root = element(("serviceResponse", []))
    root.append(element((kind, children)))
    read = cas.read(etree.tostring(root))
    if isinstance(read, cas.Success):
        try:
            claims = cas.claims(read, PROVIDER)
        except Refused:
            return
        assert all(text.isprintable() for text in (claims.mail, *claims.affiliations))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading(body: bytes) -> None:
    assert cas.read(body) is None
