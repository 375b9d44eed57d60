"""From an environment and a person to a launch plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from mydocker_hub.domain import launch, names
from mydocker_hub.domain.environment import ComputeType, Environment, VolumeDriver
from mydocker_hub.domain.errors import Refused
from mydocker_hub.domain.launch import FolderKind, FolderMount, LaunchPlan
from mydocker_hub.domain.people import Person

ALICE = Person(name="alice@example.org")
SECRET = "correct-horse-battery-staple"
DEFAULT = ComputeType(slug="default", title="CPU")


def environment(**fields):
    return Environment.model_validate(
        {
            "slug": "julia",
            "title": {"fr": "Julia", "en": "Julia!"},
            "image": "julia:1",
            "interfaces": [{"name": "lab", "title": "Lab", "path": "/lab"}],
            **fields,
        }
    )


def plan(subject=None, folders=(), compute_type=DEFAULT, person=ALICE):
    return launch.plan(
        subject or environment(),
        person,
        compute_type=compute_type,
        folders=folders,
        launch_id=7,
        version=3,
        base_url="/user/alice@example.org/julia/",
        secret=SecretStr(SECRET),
    )


def test_the_least():
    assert plan() == LaunchPlan(
        launch_id=7,
        environment="julia",
        version=3,
        title={"fr": "Julia", "en": "Julia!"},
        server="julia",
        image="julia:1",
        command=None,
        variables={},
        kind="hub",
        port=8888,
        path="/lab",
        folders=(),
        resources={},
    )


def test_a_plan_survives_the_journey_to_the_hub():
    made = plan(
        environment(
            command="run {{PASSWORD}}",
            lifetime={"idle_limit": "PT20M", "maximum": "P366D"},
            resources={"cpu_limit": 1.5, "memory_bytes": "4 GB"},
        ),
        folders=launch.folder_mounts(
            environment(storage={"dedicated": "/a", "global": "/b"}), ALICE, "hub", DEFAULT
        ),
    )
    assert LaunchPlan.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("limit", "threads"),
    [(None, None), (0.05, "1"), (0.5, "1"), (1, "1"), (1.5, "2"), (2, "2"), (64, "64")],
)
def test_thread_variables(limit, threads):
    variables = plan(environment(resources={"cpu_limit": limit})).variables
    expected = {} if threads is None else dict.fromkeys(launch.THREAD_VARIABLES, threads)
    assert variables == expected
    if threads:
        assert variables["OMP_NUM_THREADS"] == variables["PYTHON_CPU_COUNT"] == threads


def test_the_environment_has_the_last_word_on_variables():
    subject = environment(resources={"cpu_limit": 2}, variables={"OMP_NUM_THREADS": "1", "A": "b"})
    variables = plan(subject).variables
    assert (variables["OMP_NUM_THREADS"], variables["A"]) == ("1", "b")
    assert variables["MKL_NUM_THREADS"] == "2"


DEDICATED = names.dedicated_volume("hub", ALICE.name, "julia")
GLOBAL = names.global_volume("hub", ALICE.name)


@pytest.mark.parametrize(
    ("storage", "mounts"),
    [
        ({}, []),
        (
            {"dedicated": "/home/jovyan"},
            [(FolderKind.DEDICATED, DEDICATED, "/home/jovyan")],
        ),
        ({"global": "/home/jovyan"}, [(FolderKind.GLOBAL, GLOBAL, "/home/jovyan")]),
        (
            {"dedicated": "/home/jovyan", "global": "/home/jovyan/shared"},
            [
                (FolderKind.DEDICATED, DEDICATED, "/home/jovyan"),
                (FolderKind.GLOBAL, GLOBAL, "/home/jovyan/shared"),
            ],
        ),
        (
            # the outer one first, whichever it is: it would hide the inner one
            {"dedicated": "/home/jovyan/work", "global": "/home/jovyan"},
            [
                (FolderKind.GLOBAL, GLOBAL, "/home/jovyan"),
                (FolderKind.DEDICATED, DEDICATED, "/home/jovyan/work"),
            ],
        ),
    ],
)
def test_folders(storage, mounts):
    made = launch.folder_mounts(environment(storage=storage), ALICE, "hub", DEFAULT)
    assert [(mount.kind, mount.volume, mount.path) for mount in made] == mounts
    assert all(mount.driver == "local" and not mount.prepared for mount in made)


def test_folders_of_different_people_and_environments():
    storage = {"dedicated": "/a", "global": "/b"}
    subjects = [environment(storage=storage), environment(slug="julia2", storage=storage)]
    people = [ALICE, Person(name="Alice@example.org"), Person(name="alice@example.or")]
    volumes = [
        mount.volume
        for person in people
        for subject in subjects
        for mount in launch.folder_mounts(subject, person, "hub", DEFAULT)
    ]
    # two dedicated and one global folder for each person
    assert len(set(volumes)) == 3 * len(people)


def test_volume_driver_options():
    nfs = VolumeDriver(
        driver="local", options={"type": "nfs", "device": ":/x/{{VOLUME}}"}, shared=True
    )
    compute_type = ComputeType(slug="nfs", title="NFS", volumes=nfs)
    [mount] = launch.folder_mounts(environment(storage={"global": "/b"}), ALICE, "h", compute_type)
    volume = names.global_volume("h", ALICE.name)
    assert mount.options == {"type": "nfs", "device": f":/x/{volume}"}
    assert mount.shared is True


def folder(node=None, shared=False, volume="v"):
    return FolderMount(
        kind="global", volume=volume, path="/x", driver="local", node=node, shared=shared
    )


@pytest.mark.parametrize(
    ("folders", "constraints"),
    [
        ([], ()),
        ([folder()], ()),
        ([folder("n1")], ("node.id==n1",)),
        ([folder("n1", shared=True)], ()),
        ([folder("n1"), folder("n1", volume="w")], ("node.id==n1",)),
        ([folder("n1"), folder("n2", shared=True)], ("node.id==n1",)),
    ],
)
def test_pinning(folders, constraints):
    gpu = ComputeType(
        slug="gpu", title="GPU", constraints=["node.labels.gpu==1"], generic_resources={"gpu": 2}
    )
    made = plan(folders=tuple(folders), compute_type=gpu)
    assert made.constraints == ("node.labels.gpu==1", *constraints)
    assert made.generic_resources == {"gpu": 2}


def test_the_secret_is_there_only_for_a_command_that_asks():
    assert plan().secret is None
    assert plan(environment(command="run {{USERNAME}} {{BASE_URL}}")).secret is None
    for command in ("run --t={{PASSWORD}}", "run {{ PASSWORD }}", """run {"{"PASSWORD}}"""):
        made = plan(environment(command=command))
        assert made.secret == SecretStr(SECRET)
        assert made.command[-1].endswith(SECRET)


def test_the_secret_is_not_printed():
    made = plan(environment(command="run --t={{PASSWORD}}"))
    assert SECRET not in repr(made.secret)
    assert SECRET not in str(made.model_dump(exclude={"command"}))
    assert SECRET in made.model_dump_json()  # the one journey that it makes


def test_the_secret_is_not_printed_with_the_plan():
    made = plan(environment(command="run --t={{PASSWORD}}"))
    for text in (repr(made), str(made), f"{made}", f"{[made]}"):
        assert SECRET not in text


@given(st.text(min_size=1, max_size=50))
def test_a_user_name_stays_one_word(name):
    made = plan(environment(command="run {{USERNAME}} end"), person=Person(name=name))
    assert made.command == ("run", name, "end")


def test_template_values():
    made = plan(environment(command="run {{BASE_URL}} --user={{USERNAME}} ''"))
    assert made.command == (
        "run",
        "/user/alice@example.org/julia/",
        "--user=alice@example.org",
        "",
    )


@pytest.mark.parametrize("variable", ["HOST['8888']", "PORT['8888']", "USER_REDIRECT"])
def test_variables_of_the_gateway_are_refused_where_nothing_goes_through_it(variable):
    with pytest.raises(ValidationError, match=r"leave .* out of the command"):
        environment(command=f"run {{{{{variable}}}}}")
    web = [{"name": "l", "title": "L", "kind": "web"}]
    assert environment(command=f"run {{{{{variable}}}}}", interfaces=web)


def test_the_path_is_ready_for_a_url():
    subject = environment(interfaces=[{"name": "l", "title": "L", "path": "/lab/é%2f"}])
    assert plan(subject).path == "/lab/%C3%A9%252f"


def test_an_interface_that_needs_the_gateway_is_refused():
    lab = {"name": "lab", "title": "Lab"}
    web = {"name": "code", "title": "VS Code", "kind": "web", "port": 8080}
    for interfaces in ([web], [web, lab], [lab, web]):
        with pytest.raises(Refused) as refused:
            plan(environment(interfaces=interfaces))
        assert refused.value.code == "interface-unsupported"
