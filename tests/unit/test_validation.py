"""The checks that the pool's and the router's options share."""

from __future__ import annotations

import pytest

from django_poolrouter import validation
from django_poolrouter.validation import ConfigError, Problem


def test_problem__reads_as_one_line() -> None:
    assert str(Problem("POOL['a']", "is wrong.", "Try 'b'.")) == "POOL['a']: is wrong. Try 'b'."
    assert str(Problem("POOL['a']", "is wrong.")) == "POOL['a']: is wrong."


def test_config_error__carries_every_problem() -> None:
    problems = (Problem("a", "x."), Problem("b", "y."))
    error = ConfigError(*problems)
    assert error.problems == problems
    assert str(error) == "a: x.\nb: y."
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("wieght", ["WEIGHT", "APPS"], "Did you mean 'WEIGHT'?"),
        ("weight", ["WEIGHT"], "Did you mean 'WEIGHT'?"),
        ("xyz", ["WEIGHT"], ""),
        (None, ["WEIGHT"], ""),
        ("x", [], ""),
    ],
)
def test_did_you_mean__finds_the_nearest_whatever_its_case(
    name: object, known: list[str], sentence: str
) -> None:
    assert validation.did_you_mean(name, known) == sentence


def test_unknown__lists_the_known_when_none_is_near() -> None:
    problem = validation.unknown("ROUTER", "xyz", {"WEIGHT", "APPS"}, "thing")
    assert str(problem) == "ROUTER['xyz']: unknown thing. Known: APPS, WEIGHT."


def test_check_all__returns_what_holds_and_reports_the_rest() -> None:
    problems: list[Problem] = []
    checks = {"size": validation.integer(), "wait": validation.seconds(), "on": validation.boolean}
    values = {"size": 3, "wait": -1, "on": "yes", "sise": 4}
    assert validation.check_all("POOL", values, checks, problems) == {"size": 3}
    assert list(map(str, problems)) == [
        "POOL['wait']: must be a number of seconds of at least 0, not -1.",
        "POOL['on']: must be True or False, not 'yes'.",
        "POOL['sise']: unknown option. Did you mean 'size'?",
    ]


def test_check_all__suggests_names_that_are_read_elsewhere() -> None:
    problems: list[Problem] = []
    validation.check_all("ROUTER", {"REPLICA_FO": 1}, {}, problems, also_known=["REPLICA_OF"])
    assert problems[0].hint == "Did you mean 'REPLICA_OF'?"


def test_one_of__takes_callables_only_where_told() -> None:
    with pytest.raises(ValueError, match=r"must be one of 'a', 'b'\""):
        validation.one_of("a", "b")(len)
    assert validation.one_of("a", dotted=True)(len) is len
    assert validation.one_of("a", dotted=True)("pkg.name") == "pkg.name"
    with pytest.raises(ValueError, match="or a callable or its dotted path"):
        validation.one_of("a", dotted=True)("name")


def test_seconds__come_back_as_float() -> None:
    assert type(validation.seconds()(3)) is float
    assert validation.seconds(optional=True)(None) is None


def test_shorten__cuts_a_long_repr() -> None:
    assert validation.shorten("short") == "'short'"
    cut = validation.shorten("x" * 100)
    assert len(cut) == 61
    assert cut.endswith("…")
