"""LTI platforms, registration links and our signing keys, in both databases."""

from __future__ import annotations

import threading
from datetime import timedelta

import jwt
import pytest
from sqlalchemy import select

from mydocker_hub.domain.errors import Conflict, Invalid, MydockerError, NotFound
from mydocker_hub.identity.platform import JoinRule, Platform, PlatformStatus
from mydocker_hub.seal import Seal
from mydocker_hub.store import platforms
from mydocker_hub.store.database import Database
from mydocker_hub.store.platforms import LINK_LASTS, OLD_KEY_SHOWN
from mydocker_hub.store.tables import (
    AuditRow,
    IdentityRow,
    PersonRow,
    PlatformRow,
    RegistrationLinkRow,
    ToolKeyRow,
)

from .conftest import LATER, NOW

SEAL = Seal("a secret of the tests", "lti")


def moodle(**changes: object) -> Platform:
    return Platform.model_validate(
        {
            "name": "Moodle",
            "issuer": "https://moodle.example.org",
            "client_id": "client-1",
            "authorization_url": "https://moodle.example.org/mod/lti/auth.php",
            "token_url": "https://moodle.example.org/mod/lti/token.php",
            "jwks_url": "https://moodle.example.org/mod/lti/certs.php",
            "deployments": ("1",),
            **changes,
        }
    )


OLD = Platform(version="1.1", name="Old", client_id="key-1")


def create(database: Database, one: Platform, secret: str = "") -> platforms.Kept:
    return database.write_now(platforms.create, one, "carol", NOW, seal=SEAL, secret=secret)


def audited(database: Database) -> list[tuple[str, str, str]]:
    def read(session):
        rows = session.scalars(select(AuditRow).order_by(AuditRow.id))
        return [(row.actor, row.action, row.subject) for row in rows]

    return database.read_now(read)


def code_of(caught: pytest.ExceptionInfo[MydockerError]) -> str:
    return caught.value.code


# --- platforms -----------------------------------------------------------------------------------


def test_a_platform_comes_back_as_it_was(database: Database) -> None:
    rule = JoinRule(issuer="https://idp.example.org", claim="user_username", scope="example.org")
    sent = moodle(join_rule=rule, teachers=True, deployments=("1", "deux"))
    kept = create(database, sent)
    assert kept.platform == sent.model_copy(update={"id": kept.platform.id})
    assert kept.platform.id > 0
    assert kept.version == 1
    assert database.read_now(platforms.platform, kept.platform.id) == kept
    assert audited(database) == [("carol", "platform-created", f"lti-{kept.platform.id}")]


def test_what_is_known_is_not_overwritten(database: Database) -> None:
    kept = create(database, moodle())
    with pytest.raises(Conflict) as caught:
        create(database, moodle(jwks_url="https://evil.example/keys", name="Moodle"))
    assert code_of(caught) == "platform-known-already"
    assert database.read_now(platforms.platforms) == [kept]
    create(database, moodle(client_id="client-2"))  # a second tool of the same Moodle
    create(database, OLD, "secret")
    with pytest.raises(Conflict):
        create(database, OLD, "another secret")


def test_finding(database: Database) -> None:
    first = create(database, moodle()).platform
    second = create(database, moodle(client_id="client-2", status="disabled")).platform
    old = create(database, OLD, "s3cret").platform

    def find(version: str, issuer: str = "", client_id: str = ""):
        found = database.read_now(
            platforms.find, version=version, issuer=issuer, client_id=client_id, seal=SEAL
        )
        return [(one.platform, one.secret.get_secret_value()) for one in found]

    assert find("1.3", "https://moodle.example.org") == [(first, ""), (second, "")]
    assert find("1.3", "https://moodle.example.org", "client-2") == [(second, "")]
    assert find("1.1", client_id="key-1") == [(old, "s3cret")]
    # one version's key is nothing for the other
    assert find("1.3", "", "key-1") == []
    assert find("1.3", "", "") == []
    assert find("1.1", client_id="client-1") == []
    assert find("1.1", client_id="") == []
    assert find("1.3", "https://moodle.example.org/") == []


def test_the_secret_lies_sealed(database: Database) -> None:
    kept = create(database, OLD, "s3cret")
    row = database.read_now(lambda session: session.get_one(PlatformRow, kept.platform.id))
    assert row.sealed_secret
    assert "s3cret" not in f"{row.sealed_secret}{row.definition}"
    assert SEAL.open(row.sealed_secret) == "s3cret"
    details = database.read_now(lambda s: [row.detail for row in s.scalars(select(AuditRow))])
    assert "s3cret" not in str(details)


def test_a_new_secret(database: Database) -> None:
    kept = create(database, OLD, "s3cret")
    secret = database.write_now(platforms.new_secret, kept.platform.id, 1, "carol", LATER, SEAL)
    found = database.read_now(
        platforms.find, version="1.1", issuer="", client_id="key-1", seal=SEAL
    )
    assert [one.secret.get_secret_value() for one in found] == [secret]
    assert len(secret) >= 32
    thirteen = create(database, moodle())
    with pytest.raises(NotFound):
        database.write_now(platforms.new_secret, thirteen.platform.id, 1, "carol", LATER, SEAL)


def test_editing(database: Database) -> None:
    kept = create(database, moodle())
    changed = kept.platform.model_copy(update={"deployments": ("1", "2"), "teachers": True})
    after = database.write_now(platforms.edit, changed, 1, "carol", LATER)
    assert after.platform == changed
    assert after.version == 2
    with pytest.raises(Conflict) as caught:  # somebody who read version 1
        database.write_now(platforms.edit, kept.platform, 1, "dave", LATER)
    assert code_of(caught) == "changed-meanwhile"
    assert database.read_now(platforms.platform, changed.id).platform == changed
    # saying the same again is no change
    assert database.write_now(platforms.edit, changed, 2, "carol", LATER).version == 2
    assert [line[1] for line in audited(database)] == ["platform-created", "platform-changed"]


def test_who_people_are_known_by_never_changes(database: Database) -> None:
    kept = create(database, moodle()).platform
    other = kept.model_copy(update={"issuer": "https://other.example.org"})
    with pytest.raises(Invalid):
        database.write_now(platforms.edit, other, 1, "carol", LATER)
    old = create(database, OLD, "secret").platform
    with pytest.raises(Invalid):
        database.write_now(
            platforms.edit, old.model_copy(update={"client_id": "other"}), 1, "carol", LATER
        )
    # the client id of 1.3 may, but not to one that is taken
    create(database, moodle(client_id="client-2"))
    renamed = kept.model_copy(update={"client_id": "client-3"})
    assert database.write_now(platforms.edit, renamed, 1, "carol", LATER).platform == renamed
    with pytest.raises(Conflict) as caught:
        database.write_now(
            platforms.edit, kept.model_copy(update={"client_id": "client-2"}), 2, "carol", LATER
        )
    assert code_of(caught) == "platform-known-already"


def test_deleting_leaves_the_people(database: Database) -> None:
    kept = create(database, moodle())

    def come(session):
        person = PersonRow(name="lea", created_at=NOW)
        session.add(person)
        session.flush()
        session.add(
            IdentityRow(
                person_id=person.id,
                first_person_id=person.id,
                door="lti13",
                provider=kept.platform.provider,
                issuer=kept.platform.issuer,
                subject="5",
                claimed_role="student",
                claimed_since=NOW,
                created_at=NOW,
                signed_in_at=NOW,
            )
        )

    database.write_now(come)
    assert database.read_now(platforms.platform, kept.platform.id).people == 1
    with pytest.raises(Conflict):
        database.write_now(platforms.remove, kept.platform.id, 7, "carol", LATER)
    database.write_now(platforms.remove, kept.platform.id, 1, "carol", LATER)
    with pytest.raises(NotFound):
        database.read_now(platforms.platform, kept.platform.id)
    names = database.read_now(lambda s: s.scalars(select(PersonRow.name)).all())
    subjects = database.read_now(lambda s: s.scalars(select(IdentityRow.subject)).all())
    assert names == ["lea"]
    assert subjects == ["5"]


def test_an_id_is_never_given_again(database: Database) -> None:
    """Identities name the platform that they came by."""
    first = create(database, moodle())
    database.write_now(platforms.remove, first.platform.id, 1, "carol", LATER)
    again = create(database, moodle())
    assert again.platform.id > first.platform.id
    other = create(database, moodle(client_id="client-2"))
    assert other.platform.id > again.platform.id


def test_those_that_wait_come_first(database: Database) -> None:
    for name, status in (("b", "active"), ("C", "pending"), ("a", "disabled"), ("D", "pending")):
        create(database, moodle(name=name, client_id=name, status=status))
    names = [kept.platform.name for kept in database.read_now(platforms.platforms)]
    assert names == ["C", "D", "a", "b"]


def test_the_last_launch(database: Database) -> None:
    kept = create(database, moodle())
    assert kept.last_launch_at is None
    database.write_now(platforms.mark_launched, kept.platform.id, LATER)
    after = database.read_now(platforms.platform, kept.platform.id)
    assert after.last_launch_at == LATER
    assert after.version == 1  # nobody's open form is refused for it


# --- registration links --------------------------------------------------------------------------


def make_link(database: Database, **options: bool) -> str:
    return database.write_now(platforms.make_link, "Moodle of us", "carol", NOW, **options)


def take(database: Database, key: str, now=LATER) -> str:
    return database.write_now(platforms.take_link, key, now)


def test_a_link_is_used_once(database: Database) -> None:
    key = make_link(database)
    assert take(database, key) == "Moodle of us"
    with pytest.raises(NotFound) as caught:
        take(database, key)
    assert code_of(caught) == "registration-link-used"
    assert database.read_now(platforms.open_links, LATER) == []


def test_of_two_at_once_one_gets_it(database: Database) -> None:
    key = make_link(database)
    got: list[str] = []
    start = threading.Barrier(4)

    def one() -> None:
        start.wait()
        try:
            take(database, key)
        except MydockerError as error:
            got.append(error.code)
        else:
            got.append("taken")

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [*["registration-link-used"] * 3, "taken"]


@pytest.mark.parametrize("after", [LINK_LASTS, LINK_LASTS + timedelta(days=1)])
def test_a_link_ends(database: Database, after: timedelta) -> None:
    key = make_link(database)
    database.read_now(platforms.check_link, key, NOW + LINK_LASTS - timedelta(seconds=1))
    for use in (platforms.check_link, platforms.take_link):
        with pytest.raises(NotFound):
            database.write_now(use, key, NOW + after)


def test_a_link_that_was_never_made(database: Database) -> None:
    key = make_link(database)
    for guess in (key[:-1] + ("0" if key[-1] != "0" else "1"), key[:-1], key + "0", "o", ""):
        with pytest.raises(NotFound):
            take(database, guess)
    take(database, key)


def test_only_a_digest_is_kept_and_it_opens_nothing(database: Database) -> None:
    key = make_link(database)
    row = database.read_now(lambda session: session.scalars(select(RegistrationLinkRow)).one())
    assert key not in str(vars(row))
    assert len(key) == 41
    with pytest.raises(NotFound):
        take(database, row.digest)


def test_private_is_part_of_the_key(database: Database) -> None:
    plain, private = make_link(database), make_link(database, private=True)
    assert not platforms.is_private(plain)
    assert platforms.is_private(private)
    with pytest.raises(NotFound):  # nobody can make the one into the other
        take(database, "p" + plain[1:])


def test_withdrawing(database: Database) -> None:
    key = make_link(database)
    (link,) = database.read_now(platforms.open_links, LATER)
    assert (link.label, link.made_by) == ("Moodle of us", "carol")
    database.write_now(platforms.withdraw_link, link.digest, "dave", LATER)
    with pytest.raises(NotFound):
        take(database, key)
    with pytest.raises(NotFound):
        database.write_now(platforms.withdraw_link, link.digest, "dave", LATER)


def test_a_registration_waits_for_an_administrator(database: Database) -> None:
    key = make_link(database)
    take(database, key)
    kept = database.write_now(platforms.register, key, moodle(status="active"), LATER, seal=SEAL)
    assert kept.platform.status is PlatformStatus.PENDING
    # what was used for a platform is never given back
    database.write_now(platforms.give_link_back, key, "https://x.example", "internal", LATER)
    with pytest.raises(NotFound):
        take(database, key)


def test_a_registration_overwrites_nothing(database: Database) -> None:
    known = create(database, moodle())
    key = make_link(database)
    take(database, key)
    with pytest.raises(Conflict) as caught:
        database.write_now(
            platforms.register, key, moodle(jwks_url="https://evil.example/k"), LATER, seal=SEAL
        )
    assert code_of(caught) == "platform-known-already"
    assert database.read_now(platforms.platforms) == [known]
    # nothing was stored: the link can be used again
    database.write_now(
        platforms.give_link_back, key, "https://moodle.example.org", caught.value.code, LATER
    )
    assert take(database, key) == "Moodle of us"
    assert ("", "registration-failed") in [line[:2] for line in audited(database)]


# --- our keys ------------------------------------------------------------------------------------


def test_what_a_key_signs_is_verified_with_the_jwks(database: Database) -> None:
    key = database.write_now(platforms.signing_key, NOW, SEAL)
    token = jwt.encode({"a": 1}, key.private_pem, "RS256", headers={"kid": key.kid})
    (public,) = database.read_now(platforms.jwks, NOW, SEAL)["keys"]
    assert public["kid"] == key.kid
    assert set(public) == {"kty", "n", "e", "kid", "alg", "use"}  # nothing private
    verified = jwt.decode(token, jwt.PyJWK(public).key, algorithms=["RS256"])
    assert verified == {"a": 1}
    assert database.write_now(platforms.signing_key, LATER, SEAL) == key


def test_rotation(database: Database) -> None:
    first = database.write_now(platforms.signing_key, NOW, SEAL)
    new = database.write_now(platforms.rotate, "carol", LATER, SEAL)
    assert new != first.kid
    assert database.write_now(platforms.signing_key, LATER, SEAL).kid == new

    def kids(now):
        return {key["kid"] for key in database.read_now(platforms.jwks, now, SEAL)["keys"]}

    assert kids(LATER + OLD_KEY_SHOWN - timedelta(seconds=1)) == {first.kid, new}
    assert kids(LATER + OLD_KEY_SHOWN) == {new}
    database.write_now(platforms.drop_key, first.kid, "carol", LATER)
    assert kids(LATER) == {new}
    with pytest.raises(NotFound):  # the one that signs stays
        database.write_now(platforms.drop_key, new, "carol", LATER)


def test_the_private_key_lies_sealed(database: Database) -> None:
    key = database.write_now(platforms.signing_key, NOW, SEAL)
    row = database.read_now(lambda session: session.scalars(select(ToolKeyRow)).one())
    assert "PRIVATE" not in row.sealed_key
    assert key.private_pem not in repr(key)


def test_another_secret_of_the_hub_makes_another_key(database: Database) -> None:
    before = database.write_now(platforms.signing_key, NOW, SEAL)
    other = Seal("another secret", "lti")
    after = database.write_now(platforms.signing_key, LATER, other)
    assert after.kid != before.kid
    assert [key["kid"] for key in database.read_now(platforms.jwks, LATER, other)["keys"]] == [
        after.kid
    ]
