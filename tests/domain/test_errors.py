"""The table of errors: every code has a status and a sentence that its parameters fill."""

import re

import pytest

from mydocker_hub.domain import errors
from mydocker_hub.domain.errors import CODES

PLACEHOLDER = re.compile(r"%\((\w+)\)s")
LEAVES = [
    errors.Invalid,
    errors.NotFound,
    errors.Refused,
    errors.Conflict,
    errors.LaunchFailed,
    errors.Unavailable,
]


@pytest.mark.parametrize("code", CODES)
def test_every_code(code):
    entry = CODES[code]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert 400 <= entry.status <= 599
    assert entry.sentence[0].isupper() or entry.sentence[0] in "“%"
    assert entry.sentence.endswith((".", "%(detail)s"))
    # nothing but %(name)s: a translator's or our own slip would fail at the worst moment
    values = dict.fromkeys(PLACEHOLDER.findall(entry.sentence), "VALUE")
    filled = entry.sentence % values
    assert "%" not in filled
    error = errors.error_for(code, values)
    assert (error.code, error.status, error.params) == (code, entry.status, values)
    assert error.sentence == entry.sentence
    assert error.permanent is entry.permanent


@pytest.mark.parametrize("kind", LEAVES)
def test_every_class_has_a_default(kind):
    assert kind().code == kind.default_code
    assert kind.default_code in CODES
    assert issubclass(kind, errors.MydockerError)


def test_a_code_that_is_not_in_the_table_is_a_bug_here_and_internal_elsewhere():
    with pytest.raises(KeyError):
        errors.Refused("no-such-code")
    error = errors.error_for("no-such-code", {"secret": "x"})
    assert error.code == "internal"
    assert error.params == {}


def test_invalid_lists_all_its_problems():
    error = errors.Invalid(problems=[("a.b", "write x"), ("", "and y")])
    assert error.problems == [("a.b", "write x"), ("", "and y")]
    assert error.sentence % error.params == "This cannot be used: a.b: write x; and y"


def test_a_given_detail_stays():
    error = errors.Invalid(problems=[("a", "x")], detail="in short")
    assert error.params["detail"] == "in short"


def test_what_is_for_the_log_is_not_for_the_person():
    error = errors.LaunchFailed("image-not-found", image="x:1", log_detail="node 7", log_lines="z")
    assert "node 7" in str(error)
    assert "node 7" not in error.sentence % error.params
    assert error.log_lines == "z"
