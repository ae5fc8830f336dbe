"""Profiles and options: the contract's figures, and what is said of wrong ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from django_poolrouter import PoolConfig, PoolProfile
from django_poolrouter.pooling.config import BUILT_IN, parse, parse_profiles
from django_poolrouter.validation import ConfigError

# Contract, section 2: size, overflow, timeout, recycle, pre-ping.
FIGURES = {
    "development": (2, 3, 10, 300, True),
    "production": (10, 20, 30, 3600, True),
    "high_load": (25, 50, 60, 1800, True),
    "batch": (5, 10, 120, 7200, False),
}
DEFAULTS = {
    "min_idle": 0,
    "max_idle": 600,
    "max_waiting": 0,
    "ping_after": 1.0,
    "ping_timeout": 2.0,
    "reset": "auto",
    "configure": None,
    "hold": "request",
    "leak_after": None,
}


def figures(config: PoolConfig) -> tuple[Any, ...]:
    return (
        config.pool_size,
        config.max_overflow,
        config.pool_timeout,
        config.pool_recycle,
        config.pool_pre_ping,
    )


def problems(value: Any, profiles: Any = BUILT_IN) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(value, profiles)
    return [str(problem) for problem in caught.value.problems]


def only_problem(value: Any) -> str:
    (problem,) = problems(value)
    return problem


# -- profiles ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_profile__has_the_contracts_figures(name: str) -> None:
    config = PoolConfig.for_profile(name)
    assert figures(config) == FIGURES[name]
    assert config.max == FIGURES[name][0] + FIGURES[name][1]
    assert config.profile == name


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("option", DEFAULTS)
def test_other_options__are_the_same_in_every_profile(name: str, option: str) -> None:
    assert getattr(PoolConfig.for_profile(name), option) == DEFAULTS[option]


def test_figures_and_defaults__are_all_options_there_are() -> None:
    names = {field.name for field in dataclasses.fields(PoolConfig)}
    shown = {"pool_size", "max_overflow", "pool_timeout", "pool_recycle", "pool_pre_ping"}
    assert names == shown | DEFAULTS.keys() | {"profile"}


def test_profiles__are_known_to_the_enumeration() -> None:
    assert [str(profile) for profile in PoolProfile] == list(FIGURES)
    assert PoolConfig.for_profile(PoolProfile.BATCH) == PoolConfig.for_profile("batch")


@pytest.mark.parametrize("value", [True, None, "production", {}, {"profile": "production"}])
def test_production__is_the_default(value: Any) -> None:
    assert parse(value) == PoolConfig.for_profile("production")


@pytest.mark.parametrize(
    "value", ["batch", PoolProfile.BATCH, {"profile": PoolProfile.BATCH}], ids=repr
)
def test_profile__is_taken_by_name_or_member(value: Any) -> None:
    config = parse(value)
    assert config == PoolConfig.for_profile("batch")
    assert type(config.profile) is str


def test_overrides__change_only_what_they_name() -> None:
    config = parse({"profile": "batch", "pool_size": 8, "leak_after": 5})
    expected = dataclasses.replace(PoolConfig.for_profile("batch"), pool_size=8, leak_after=5.0)
    assert config == expected


def test_unknown_profile__names_the_nearest() -> None:
    assert only_problem("prodution") == (
        "pool: unknown profile 'prodution'. Did you mean 'production'?"
    )


def test_profile_like_no_other__lists_the_known_ones() -> None:
    assert only_problem({"profile": "xyz"}) == (
        "pool: unknown profile 'xyz'. Known: development, production, high_load, batch."
    )


@pytest.mark.parametrize("name", [None, 5, ["production"], b"batch"])
def test_profile_of_wrong_type__is_an_unknown_profile(name: Any) -> None:
    assert "unknown profile" in only_problem({"profile": name})


def test_for_profile__raises_for_an_unknown_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'high_load'"):
        PoolConfig.for_profile("highload")


def test_config__is_frozen() -> None:
    config = PoolConfig.for_profile("production")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.pool_size = 99  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        config.pool_sise = 99  # type: ignore[attr-defined]


def test_built_in_profiles__do_not_change_with_a_config() -> None:
    before = {name: dict(values) for name, values in BUILT_IN.items()}
    parse({"pool_size": 1, "max_overflow": 0})
    parse_profiles({"web": {"pool_size": 12}})
    assert before == BUILT_IN


# -- the native pool's names -----------------------------------------------------------------


def test_native_names__are_understood() -> None:
    config = parse({"min_size": 1, "max_size": 4, "timeout": 5, "max_lifetime": 60})
    assert figures(config) == (4, 0, 5, 60, True)
    assert config.min_idle == 1


@pytest.mark.parametrize(
    ("name", "value"), [("max_size", 4), ("min_size", 1), ("timeout", 5), ("max_lifetime", 60)]
)
def test_any_native_name__switches_overflow_off(name: str, value: int) -> None:
    assert parse({name: value}).max_overflow == 0


@pytest.mark.parametrize(("name", "value"), [("max_idle", 60), ("max_waiting", 7)])
def test_names_of_both_worlds__leave_overflow_alone(name: str, value: int) -> None:
    config = parse({name: value})
    assert config.max_overflow == 20
    assert getattr(config, name) == value


def test_overflow_beside_a_native_name__counts() -> None:
    assert parse({"max_size": 4, "max_overflow": 3}).max == 7


@pytest.mark.parametrize(
    ("ours", "native"),
    [
        ("pool_size", "max_size"),
        ("min_idle", "min_size"),
        ("pool_timeout", "timeout"),
        ("pool_recycle", "max_lifetime"),
    ],
)
def test_both_spellings__are_refused(ours: str, native: str) -> None:
    for first, second in ((ours, native), (native, ours)):
        problem = only_problem({first: 1, second: 1})
        assert problem == (
            f"pool: {first!r} and {second!r} are two spellings of one option. Keep one of them."
        )


@pytest.mark.parametrize("name", ["max_size", "min_size", "timeout", "max_lifetime"])
def test_wrong_value_under_a_native_name__is_reported_as_written(name: str) -> None:
    assert only_problem({name: "10"}).startswith(f"pool[{name!r}]: must be a ")


# -- wrong options -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("pool_sze", "pool_size"),
        ("POOL_SIZE", "pool_size"),
        ("max_overflw", "max_overflow"),
        ("pre_ping", "pool_pre_ping"),
        ("recycle", "pool_recycle"),
        ("leak_afer", "leak_after"),
        ("max_siz", "max_size"),
        ("min_siz", "min_size"),
        ("max_lifetim", "max_lifetime"),
        ("profil", "profile"),
    ],
)
def test_unknown_option__names_the_nearest(wrong: str, right: str) -> None:
    problem = only_problem({wrong: 1})
    assert problem == f"pool[{wrong!r}]: unknown option. Did you mean {right!r}?"


def test_option_like_no_other__lists_the_known_ones() -> None:
    problem = only_problem({"xyz": 1})
    assert problem.startswith("pool['xyz']: unknown option. Known: configure, hold, leak_after,")


def test_key_that_is_no_string__is_an_unknown_option() -> None:
    assert only_problem({5: 1}).startswith("pool[5]: unknown option.")


INTEGERS = {"pool_size": 1, "max_overflow": 0, "min_idle": 0, "max_waiting": 0}
SECONDS = ["pool_timeout", "ping_after"]
SECONDS_ABOVE_ZERO = ["ping_timeout"]
SECONDS_OR_NONE = ["pool_recycle", "max_idle", "leak_after"]


@pytest.mark.parametrize("value", [True, False, "10", 1.0, 2.5, -1, None, [1], float("nan")])
@pytest.mark.parametrize("option", INTEGERS)
def test_whole_number__is_asked_for(option: str, value: Any) -> None:
    assert only_problem({option: value}) == (
        f"pool[{option!r}]: must be a whole number, at least {INTEGERS[option]}, not {value!r}."
    )


def test_pool_size__is_at_least_one() -> None:
    assert only_problem({"pool_size": 0}).endswith("at least 1, not 0.")
    assert parse({"pool_size": 1, "max_overflow": 0}).max == 1


WRONG_SECONDS = [True, False, "10", -1, -0.5, float("nan"), float("inf"), [1], b"1", 1j]


@pytest.mark.parametrize("value", [*WRONG_SECONDS, None], ids=repr)
@pytest.mark.parametrize("option", SECONDS)
def test_seconds__are_asked_for(option: str, value: Any) -> None:
    assert only_problem({option: value}) == (
        f"pool[{option!r}]: must be a number of seconds of at least 0, not {value!r}."
    )


@pytest.mark.parametrize("value", [*WRONG_SECONDS, None, 0, 0.0], ids=repr)
def test_ping_timeout__is_above_zero(value: Any) -> None:
    assert only_problem({"ping_timeout": value}) == (
        f"pool['ping_timeout']: must be a number of seconds above 0, not {value!r}."
    )


@pytest.mark.parametrize("value", [*WRONG_SECONDS, 0], ids=repr)
@pytest.mark.parametrize("option", SECONDS_OR_NONE)
def test_limits__are_above_zero_or_none(option: str, value: Any) -> None:
    assert only_problem({option: value}) == (
        f"pool[{option!r}]: must be a number of seconds above 0 or None, not {value!r}."
    )


def test_seconds_too_large_for_a_float__are_refused() -> None:
    assert only_problem({"pool_timeout": 10**400}).startswith("pool['pool_timeout']: must be")


@pytest.mark.parametrize("option", SECONDS_OR_NONE)
def test_none__means_no_limit(option: str) -> None:
    assert getattr(parse({option: None}), option) is None


@pytest.mark.parametrize("option", SECONDS)
@pytest.mark.parametrize("value", [0, 0.25, 90])
def test_seconds__may_be_whole_or_not(option: str, value: float) -> None:
    seconds = getattr(parse({option: value}), option)
    assert seconds == value
    assert type(seconds) is float


@pytest.mark.parametrize("value", [1, 0, "false", "yes", None])
def test_pre_ping__is_true_or_false(value: Any) -> None:
    assert only_problem({"pool_pre_ping": value}) == (
        f"pool['pool_pre_ping']: must be True or False, not {value!r}."
    )


def test_reset__is_a_word_a_dotted_path_or_a_callable() -> None:
    assert parse({"reset": "session"}).reset == "session"
    assert parse({"reset": "shop.pooling.clean"}).reset == "shop.pooling.clean"
    assert parse({"reset": len}).reset is len


def test_configure__is_a_callable_or_its_path() -> None:
    assert parse({"configure": "shop.database.prepare"}).configure == "shop.database.prepare"
    assert parse({"configure": len}).configure is len
    for value in ("prepare", 5, True):
        problem = only_problem({"configure": value})
        assert problem.startswith("pool['configure']: must be a callable or its dotted path")


@pytest.mark.parametrize("value", ["sesion", 5, None, True])
def test_reset__is_nothing_else(value: Any) -> None:
    problem = only_problem({"reset": value})
    assert problem.startswith(
        "pool['reset']: must be one of 'auto', 'rollback', 'session', or a callable"
    )
    assert ("Did you mean 'session'?" in problem) == (value == "sesion")


@pytest.mark.parametrize("value", ["requests", None, len, "a.b"])
def test_hold__is_one_of_its_words(value: Any) -> None:
    problem = only_problem({"hold": value})
    assert problem.startswith("pool['hold']: must be one of 'request', 'transaction'")


@pytest.mark.parametrize("value", [5, 1.5, [], ("batch",), b"batch", object])
def test_pool__is_nothing_but_what_the_contract_says(value: Any) -> None:
    assert "must be True, False, a profile's name or a mapping" in only_problem(value)


def test_min_idle__is_not_above_pool_size() -> None:
    assert only_problem({"pool_size": 2, "min_idle": 3}) == (
        "pool: min_idle 3 is more than pool_size 2. Keep at most pool_size connections idle."
    )
    assert parse({"pool_size": 3, "min_idle": 3}).min_idle == 3


def test_problems__are_all_reported_at_once() -> None:
    found = problems(
        {"pool_sze": 3, "max_overflow": -1, "pool_timeout": 1, "timeout": "2", "hold": None}
    )
    assert [text.split(":")[0] for text in found] == [
        "pool",  # the two spellings
        "pool['pool_sze']",
        "pool['max_overflow']",
        "pool['timeout']",
        "pool['hold']",
    ]


def test_unknown_profile__does_not_hide_other_problems() -> None:
    found = problems({"profile": "prodution", "pool_sze": 3, "max_overflow": -1})
    assert [text.split(":")[0] for text in found] == [
        "pool",
        "pool['pool_sze']",
        "pool['max_overflow']",
    ]


def test_long_values__are_cut_in_messages() -> None:
    assert len(only_problem({"pool_size": "x" * 1000})) < 200


def test_place__is_in_every_message() -> None:
    where = "DATABASES['orders']['OPTIONS']['pool']"
    with pytest.raises(ConfigError) as caught:
        parse({"pool_sze": 3, "pool_size": "x"}, where=where)
    assert all(problem.where.startswith(where) for problem in caught.value.problems)


# -- profiles of the settings --------------------------------------------------------------------


def test_custom_profile__is_based_on_another() -> None:
    profiles = parse_profiles({"web": {"profile": "high_load", "pool_size": 12}})
    config = parse("web", profiles)
    expected = dataclasses.replace(PoolConfig.for_profile("high_load"), pool_size=12, profile="web")
    assert config == expected


def test_custom_profile__is_based_on_production_by_default() -> None:
    config = parse("web", parse_profiles({"web": {"pool_size": 12}}))
    assert figures(config) == (12, *FIGURES["production"][1:])


def test_custom_profile__may_be_based_on_a_custom_one() -> None:
    profiles = parse_profiles(
        {"web": {"pool_size": 12}, "spiky": {"profile": "web", "max_overflow": 99}}
    )
    assert figures(parse("spiky", profiles))[:2] == (12, 99)


def test_custom_profile__takes_overrides() -> None:
    config = parse({"profile": "web", "pool_size": 3}, parse_profiles({"web": {"max_idle": 5}}))
    assert (config.pool_size, config.max_idle) == (3, 5)


def test_custom_profile__may_use_native_names() -> None:
    config = parse("web", parse_profiles({"web": {"max_size": 6}}))
    assert (config.pool_size, config.max_overflow) == (6, 0)


def profile_problems(value: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_profiles(value)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "POOLROUTER['PROFILES']: must be a mapping of profile names to options."),
        (
            {"batch": {}},
            "POOLROUTER['PROFILES']['batch']: cannot be the name of a profile."
            " Use a string that is not the name of a built-in profile.",
        ),
        (
            {5: {}},
            "POOLROUTER['PROFILES'][5]: cannot be the name of a profile."
            " Use a string that is not the name of a built-in profile.",
        ),
        ({"web": "batch"}, "POOLROUTER['PROFILES']['web']: must be a mapping of options."),
        (
            {"web": {"profile": "prodution"}},
            "POOLROUTER['PROFILES']['web']: unknown profile 'prodution'."
            " Did you mean 'production'?",
        ),
        (
            {"web": {"pool_sze": 1}},
            "POOLROUTER['PROFILES']['web']['pool_sze']: unknown option. Did you mean 'pool_size'?",
        ),
        (
            {"web": {"pool_size": "1"}},
            "POOLROUTER['PROFILES']['web']['pool_size']: must be a whole number, at least 1,"
            " not '1'.",
        ),
    ],
    ids=str,
)
def test_wrong_profile__is_reported_with_its_place(value: Any, text: str) -> None:
    assert profile_problems(value) == [text]


def test_profile_based_on_itself__is_an_unknown_profile() -> None:
    (problem,) = profile_problems({"web": {"profile": "web"}})
    assert "unknown profile 'web'" in problem


def test_wrong_profiles__are_all_reported_at_once() -> None:
    found = profile_problems({"a": {"pool_size": 0}, "b": 5, "batch": {}, "good": {}})
    assert [text.split(":")[0] for text in found] == [
        "POOLROUTER['PROFILES']['a']['pool_size']",
        "POOLROUTER['PROFILES']['b']",
        "POOLROUTER['PROFILES']['batch']",
    ]
