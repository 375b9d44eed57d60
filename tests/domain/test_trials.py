"""Trials, secrets and content in what a start is told."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from mydocker_hub.domain import launch, names
from mydocker_hub.domain.access import Right, Standing, may_try
from mydocker_hub.domain.environment import ComputeType, Content, Environment, VolumeDriver
from mydocker_hub.domain.errors import Invalid
from mydocker_hub.domain.images import Recipe, as_environment
from mydocker_hub.domain.launch import LaunchPlan, Place, content_path, entrances, environment_of
from mydocker_hub.domain.logtext import masked, plain
from mydocker_hub.domain.people import Person, Role

ALICE = Person(name="alice")
BOB = Person(name="bob", roles=frozenset({Role.STUDENT, Role.TEACHER}))
CAROL = Person(name="carol", roles=frozenset({Role.STUDENT, Role.ADMIN}))
TRIAL = names.trial_name("environment/lab")


def make(**changes: object) -> Environment:
    return Environment.model_validate(
        {
            "slug": "lab",
            "title": "Lab",
            "status": "ready",
            "image": "example.org/image:1",
            "interfaces": [{"name": "lab", "title": "Lab", "path": "/lab"}],
            **changes,
        }
    )


def plan_of(environment: Environment, **options: object) -> LaunchPlan:
    return launch.plan(
        environment,
        BOB,
        compute_type=ComputeType(slug="default", title="Default"),
        folders=(),
        launch_id=7,
        version=3,
        place=Place(base_url=f"/user/bob/{TRIAL}/"),
        secret=SecretStr("s"),
        **options,
    )


# --- trials --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "expected"), [(None, 60), ("PT20M", 20), ("PT1H", 60), ("P1D", 60)]
)
def test_a_trial_lasts_an_hour_at_most(own: str | None, expected: int) -> None:
    tried = launch.as_tried(make(lifetime={"maximum": own, "idle_limit": "PT10M"}))
    assert tried.lifetime.maximum == timedelta(minutes=expected)
    assert tried.lifetime.idle_limit == timedelta(minutes=10)


def test_a_trial_has_folders_of_its_own_each_time() -> None:
    environment = make(storage={"dedicated": "/home/x/work", "global": "/home/x"})
    compute_type = ComputeType(slug="default", title="Default", volumes=VolumeDriver(driver="nfs"))
    own = launch.folder_mounts(environment, BOB, "hub", compute_type)
    first = launch.trial_mounts(environment, BOB, "hub", TRIAL, 1)
    second = launch.trial_mounts(environment, BOB, "hub", TRIAL, 2)
    assert [mount.path for mount in first] == [mount.path for mount in own]
    assert {mount.driver for mount in first} == {"local"}
    assert not any(mount.prepared for mount in first)
    volumes = [mount.volume for mount in (*own, *first, *second)]
    assert len(set(volumes)) == 6
    assert launch.trial_mounts(make(), BOB, "hub", TRIAL, 1) == ()


def test_a_trial_is_planned_for_its_own_server() -> None:
    plan = plan_of(make(), trial_server=TRIAL)
    assert plan.server == TRIAL
    assert plan.trial
    assert plan.environment == "lab"
    assert not plan_of(make()).trial


def test_a_trial_is_named_by_its_server_alone() -> None:
    assert environment_of(TRIAL, {}) == TRIAL
    assert environment_of(TRIAL, {"environment": TRIAL, "profile": "Trial: Lab"}) == TRIAL
    other = names.trial_name("environment/other")
    for server, options in [
        (TRIAL, {"environment": other}),
        ("lab", {"environment": TRIAL}),
        ("try-", {}),
        (TRIAL.replace("-", "--"), {}),
        (TRIAL.upper(), {}),
        (TRIAL, {"environment": TRIAL, "image": "evil"}),
    ]:
        with pytest.raises(Invalid):
            environment_of(server, options)


def test_no_environment_has_the_name_of_a_trial() -> None:
    with pytest.raises(ValueError, match="trials"):
        make(slug=TRIAL)
    assert make(slug=TRIAL[:-1]).slug == TRIAL[:-1]
    assert make(slug="try-python").slug == "try-python"


@pytest.mark.parametrize(
    ("person", "status", "standing", "code"),
    [
        (BOB, "ready", Standing(right=Right.VIEW), ""),
        (BOB, "draft", Standing(right=Right.VIEW), ""),
        (BOB, "draft", Standing(right=Right.OWN), ""),
        (CAROL, "draft", Standing(), ""),
        (BOB, "archived", Standing(right=Right.OWN), "environment-archived"),
        (CAROL, "archived", Standing(), "environment-archived"),
        (BOB, "ready", Standing(), "environment-unknown"),
        (BOB, "draft", Standing(), "environment-unknown"),
        (BOB, "ready", Standing(enrolled=True), "not-allowed"),
        (BOB, "ready", Standing(invited=True), "not-allowed"),
        # a student who was given a right once
        (ALICE, "ready", Standing(right=Right.OWN), "not-allowed"),
        (ALICE, "ready", Standing(enrolled=True), "not-allowed"),
    ],
)
def test_who_may_try(person: Person, status: str, standing: Standing, code: str) -> None:
    decision = may_try(person, make(status=status), standing)
    assert decision.code == code
    assert decision.allowed is (code == "")


def test_a_public_environment_is_started_not_tried() -> None:
    assert may_try(BOB, make(public=True), Standing()).code == "not-allowed"


def test_a_build_as_an_environment() -> None:
    recipe = Recipe.model_validate({"title": "Mine", "base": "example.org/base:1"})
    built = as_environment(recipe, "mine", "example.org/mine:3")
    assert built.image == "example.org/mine:3"
    assert [(one.kind, one.port) for one in built.interfaces] == [("hub", 8888)]
    assert built.storage.dedicated is None
    recipe = Recipe.model_validate(
        {
            "title": "Mine",
            "base": "example.org/base:1",
            "command": "serve --port 80",
            "interfaces": [{"name": "web", "title": "Web", "kind": "web", "port": 80}],
            "home": "/home/x",
        }
    )
    built = as_environment(recipe, "mine", "example.org/mine:3")
    assert built.command == "serve --port 80"
    assert built.main_interface.port == 80
    assert built.storage.dedicated == "/home/x"


# --- secrets -------------------------------------------------------------------------------------


def test_secrets_are_seen_in_the_plan_that_travels_and_nowhere_else() -> None:
    plan = plan_of(make(), secret_variables={"API_KEY": "hunter22"})
    assert "hunter22" not in repr(plan)
    assert "hunter22" not in str(plan.model_dump())
    travelled = LaunchPlan.model_validate_json(plan.model_dump_json())
    assert travelled.secret_variables["API_KEY"].get_secret_value() == "hunter22"
    assert "API_KEY" not in travelled.variables
    assert "hunter22" not in repr(travelled)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a\x1b[31mred\x1b[0m b", "ared b"),
        ("\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link", "textlink"),
        ("10%\r50%\r100%\nnext\r\n", "100%\nnext\n"),
        ("tab\tstays\x00\x08\x9b", "tab\tstays"),
        ("done\r", "done"),
        ("", ""),
    ],
)
def test_plain(written: str, shown: str) -> None:
    assert plain(written) == shown


def test_masked() -> None:
    key = '-----BEGIN KEY-----\nMIIEvQ"ABC/DEF\n-----END KEY-----'
    assert masked("token abc", ["abc", ""]) == "token …"
    assert masked("abcdef abc", ["abc", "abcdef"]) == "… …"  # the longer one first
    assert masked("https://u:p%2Fw@x", ["p/w"]) == "https://u:…@x"
    assert "MIIEvQ" not in masked(key, [key])
    assert "MIIEvQ" not in masked('line 2 is MIIEvQ"ABC/DEF', [key])
    assert "MIIEvQ" not in masked('{"key": "-----BEGIN KEY-----\\nMIIEvQ\\"ABC/DEF\\n', [key])
    assert masked("nothing", []) == "nothing"


# --- content -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "interface", "expected"),
    [
        (
            {"repository": "https://git.example.org/team/course.git"},
            "/lab",
            {
                "repo": "https://git.example.org/team/course.git",
                "targetpath": "course",
                "urlpath": "lab/tree/course",
            },
        ),
        (
            {
                "repository": "https://git.example.org/team/course/",
                "branch": "week-1",
                "path": "a b/été & co.ipynb",
            },
            "/lab/tree",
            {
                "repo": "https://git.example.org/team/course/",
                "branch": "week-1",
                "targetpath": "course",
                "urlpath": "lab/tree/course/a%20b/%C3%A9t%C3%A9%20%26%20co.ipynb",
            },
        ),
        (
            {"repository": "https://git.example.org/course", "path": "index.ipynb"},
            "/",
            {
                "repo": "https://git.example.org/course",
                "targetpath": "course",
                "urlpath": "tree/course/index.ipynb",
            },
        ),
        (
            {"repository": "https://git.example.org/.."},
            "/laboratory",
            {
                "repo": "https://git.example.org/..",
                "targetpath": "content",
                "urlpath": "tree/content",
            },
        ),
    ],
)
def test_content_is_fetched_on_the_way(
    content: dict[str, str], interface: str, expected: dict[str, str]
) -> None:
    path = content_path(Content.model_validate(content), interface)
    address = urlsplit(path)
    assert address.path == "git-pull"
    assert not address.fragment
    query = parse_qs(address.query, strict_parsing=True)
    assert query == {name: [value] for name, value in expected.items()}


def test_the_first_entrance_leads_through_nbgitpuller() -> None:
    content = {"repository": "https://git.example.org/course"}
    (only,) = entrances(make(content=content))
    assert only.path.startswith("git-pull?repo=")
    two = make(
        command="jupyter lab --ip=0.0.0.0",
        content=content,
        interfaces=[
            {"name": "lab", "title": "Lab", "kind": "web", "port": 8888, "path": "/lab"},
            {"name": "web", "title": "Web", "kind": "web", "port": 80, "path": "/x"},
        ],
    )
    first, second = entrances(two)
    assert first.path.startswith("lab/git-pull?")
    assert second.path == "web/x"
    # whether a server answers is still asked at the interface's own path
    assert plan_of(two).path == "/lab"


def test_other_content_is_another_start() -> None:
    one = make(content={"repository": "https://git.example.org/course"})
    assert not launch.starts_alike(one, make())
    other = make(content={"repository": "https://git.example.org/course", "path": "week-2"})
    assert not launch.starts_alike(one, other)
    assert launch.starts_alike(one, one)
