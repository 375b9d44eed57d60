"""`mydocker-hub people` and `whoami-test`, as an operator calls them."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest

from mydocker_hub import cli
from mydocker_hub.identity.claims import Claims, SignIn
from mydocker_hub.store import people
from mydocker_hub.store.database import Database

from .store.conftest import NOW

CLAIMS = {
    "door": "saml",
    "provider": "federation",
    "issuer": "https://idp.univ-a.example",
    "identifiers": [["subject-id", "jean@univ-a.example"]],
    "given_name": "Jean",
    "family_name": "Dupont",
    "affiliations": ["member", "student", "employee"],
    "primary_affiliation": "student",
}
SETTINGS = """\
roles: {refuse: [alum]}
federation:
  metadata: {file: /none.xml, fingerprints: ["FINGERPRINT"]}
  institutions:
    - {scope: univ-a.example, highest_role: student}
    - {scope: univ-b.example, allow: false}
administrators: [{provider: federation, identifier: Jean@univ-a.example}]
""".replace("FINGERPRINT", ":".join(["AB"] * 32))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MYDOCKER_HUB_STATE", str(tmp_path))
    for name in ("MYDOCKER_DATABASE_URL", "MYDOCKER_SIGN_IN_FILE", "MYDOCKER_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def call(place: Path, capsys: pytest.CaptureFixture[str]):
    def call(*arguments: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out + err

    return call


@pytest.fixture
def database(place: Path):
    found = Database(f"sqlite:///{place / 'catalogue.sqlite'}")
    found.upgrade()
    yield found
    found.close()


@pytest.fixture
def whoami(place: Path, call):
    def whoami(content: object) -> tuple[int, str]:
        file = place / "recorded"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return call("whoami-test", file)

    return whoami


def test_whoami_says_each_step(place: Path, whoami, database: Database) -> None:
    (place / "sign-in.yaml").write_text(SETTINGS)
    status, said = whoami(CLAIMS)
    assert status == 0, said
    for line in (
        "nothing of them was verified",
        "  subject-id: jean@univ-a.example",
        "affiliations: employee, member, student; the primary one: student",
        "institution: the line of univ-a.example speaks of it (may enter, at most student)",
        "role: student, because: the primary affiliation is student",
        "named as administrator in the configuration: yes",
        "account: a new one, jean.dupont",
        "  admin: configured, since ",
    ):
        assert line in said
    assert "a new one" in whoami(CLAIMS)[1]  # nothing was kept
    database.write_now(people.sign_in, SignIn(claims=Claims.model_validate(CLAIMS)), NOW)
    assert "account: jean.dupont, which it opened before" in whoami(CLAIMS)[1]
    whole = {"claims": CLAIMS, "role": "teacher"}  # as the hub asked
    assert "  teacher: claimed" in whoami(whole)[1]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (
            {"affiliations": ["alum"], "primary_affiliation": ""},
            "sign-in-affiliation-refused",
        ),
        (
            {"identifiers": [["subject-id", "jean@univ-b.example"]]},
            "sign-in-institution-refused",
        ),
        ({"issuer": ""}, "invalid"),
    ],
)
def test_whoami_says_why_not(place: Path, whoami, changes, code) -> None:
    (place / "sign-in.yaml").write_text(SETTINGS)
    status, said = whoami(CLAIMS | changes)
    assert status == 1
    assert f"refused: {code}\n" in said


def test_whoami_of_what_is_nothing(place: Path, whoami) -> None:
    status, said = whoami("PHNhbWxwOlJlc3BvbnNlLz4=")
    assert (status, "no federation is set up" in said) == (1, True)
    (place / "sign-in.yaml").write_text(SETTINGS)
    for text in ("PHNhbWxwOlJlc3BvbnNlLz4=", "<a/>", "x" * 2**20, "{"):
        status, said = whoami(text)
        assert status == 1, text[:20]
        assert said.startswith("refused: "), said
    unknown = jwt.encode({"iss": "https://m.example", "aud": "c"}, "k" * 32, "HS256")
    assert whoami(unknown)[0] == 1


def test_roles_from_the_shell(call, database: Database) -> None:
    for uid in ("a", "b"):
        claims = CLAIMS | {"identifiers": [["subject-id", f"{uid}@univ-a.example"]]}
        database.write_now(
            people.sign_in, SignIn(claims=Claims.model_validate(claims), admin=uid == "a"), NOW
        )
    name = "jean.dupont-2"
    assert call("people", "grant", name, "admin", "--reason", "first")[1] == (
        f"{name}: admin, student\n"
    )
    assert call("people", "list", "--role", "admin")[1].startswith(f"{name}\tstudent, admin\t")
    assert name in call("people", "list", "dupont")[1]
    status, said = call("people", "show", name)
    assert status == 0
    assert "admin: decided, since" in said
    assert "role-granted mydocker-hub" in said
    call("people", "grant", name, "teacher", "--until", "2099-12-31")
    assert call("people", "withdraw", name, "teacher")[1] == f"{name}: admin, student\n"
    assert call("people", "reset", name, "teacher")[0] == 0
    assert call("people", "block", "jean.dupont", "--reason", "spam")[0] == 0
    assert call("people", "list", "--blocked")[1].startswith("jean.dupont\t")
    assert call("people", "unblock", "jean.dupont")[0] == 0
    status, said = call("people", "grant", "nobody", "admin")
    assert (status, "There is no account" in said) == (1, True)
