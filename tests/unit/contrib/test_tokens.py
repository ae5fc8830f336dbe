"""The cache for passwords that expire: when it fetches, what it uses meanwhile, what it refuses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from django_poolrouter.contrib.tokens import TokenCache
from tests.support.doubles import Killed
from tests.unit.contrib.conftest import NOW, SECRET, Clocks, Service, refreshing, token

# -- when it fetches -------------------------------------------------------------------------


def test_token__is_fetched_at_the_first_call_only(cache: TokenCache, service: Service) -> None:
    assert service.calls == 0
    assert [cache(), cache()] == [token(1), token(1)]


@pytest.mark.parametrize(
    ("lifetime", "options", "margin"),
    [
        (900, {}, 60),
        (100, {}, 10),
        (900, {"margin": 300}, 300),
        (900, {"margin": 0}, 0),
    ],
)
def test_token__is_refreshed_when_its_margin_begins(
    make: Callable[..., TokenCache], clocks: Clocks, lifetime: float, options: Any, margin: float
) -> None:
    cache = make(lifetime=lifetime, **options)
    cache()
    clocks.advance(lifetime - margin - 0.5)
    assert cache() == token(1)
    clocks.advance(0.5)
    assert cache() == token(2)


@pytest.mark.parametrize(
    "expiry",
    [NOW + 100, int(NOW + 100), datetime.fromtimestamp(NOW + 100, UTC)],
    ids=["float", "int", "datetime"],
)
@pytest.mark.parametrize("lifetime", [None, 900])
def test_expiry__counts_instead_of_the_lifetime(
    make: Callable[..., TokenCache], clocks: Clocks, expiry: Any, lifetime: float | None
) -> None:
    answers = [("first", expiry), ("second", NOW + 1000)]
    cache = make(lambda: answers.pop(0), lifetime)
    assert cache() == "first"
    clocks.advance(89)
    assert cache() == "first"
    clocks.advance(1)
    assert cache() == "second"


def test_token__is_as_old_as_the_call_that_fetched_it(
    cache: TokenCache, service: Service, clocks: Clocks
) -> None:
    """A slow service may have made it at the beginning of the call."""
    service.on_fetch = lambda: clocks.advance(30)
    cache()
    clocks.advance(900 - 30 - 60)
    assert cache() == token(2)


def test_service_that_returns_a_token_about_to_expire__is_called_every_five_seconds(
    make: Callable[..., TokenCache], clocks: Clocks
) -> None:
    """Clients with a cache of their own return the same token until shortly before its end."""
    calls: list[float] = []

    def fetch() -> tuple[str, float]:
        calls.append(clocks.wall - NOW)
        return "token", NOW + 300

    cache = make(fetch, None, margin=600)
    for _ in range(10):
        assert cache() == "token"
        clocks.advance(1)
    assert calls == [0, 5]


@pytest.mark.parametrize(
    ("wall", "steady"),
    [(900, 0), (0, 900), (-3600, 900), (3600, 0)],
    ids=["computer slept", "clock stopped", "clock set back", "clock set forward"],
)
def test_token__expires_by_the_clock_that_says_so_first(
    cache: TokenCache, clocks: Clocks, service: Service, wall: float, steady: float
) -> None:
    cache()
    clocks.wall += wall
    clocks.steady += steady
    service.error = LookupError("sealed")  # a valid token would be used
    with pytest.raises(LookupError):
        cache()


def test_clear__forgets_the_token(cache: TokenCache) -> None:
    cache()
    cache.clear()
    assert [cache(), cache()] == [token(2), token(2)]


def test_clear__leaves_no_token_for_a_failed_refresh(cache: TokenCache, service: Service) -> None:
    cache()
    cache.clear()
    service.error = LookupError("sealed")
    with pytest.raises(LookupError, match="sealed"):
        cache()


# -- a refresh that fails --------------------------------------------------------------------


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if (record.name, record.levelno) == ("django_poolrouter.pool", logging.WARNING)
    ]


def test_failed_refresh__leaves_the_old_token_in_use_and_is_repeated_after_five_seconds(
    cache: TokenCache, service: Service, clocks: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    cache()
    clocks.advance(850)
    service.error = LookupError(f"the vault\nis sealed for {token(1)}")
    for _ in range(10):
        assert cache() == token(1)
        clocks.advance(1)
    assert service.calls == 1 + 2
    assert warnings_of(caplog) == [
        f"{Service.__module__}.Service.fetch failed,"
        f" so its old token is used, for {left} s at most: the vault is sealed for ********"
        for left in (50, 45)
    ]
    service.error = None
    assert cache() == token(4)
    assert len(warnings_of(caplog)) == 2


def test_failed_refresh__is_the_callers_error_when_the_old_token_has_expired(
    cache: TokenCache, service: Service, clocks: Clocks
) -> None:
    cache()
    clocks.advance(850)
    service.error = error = LookupError("the vault is sealed")
    assert cache() == token(1)
    clocks.advance(50)
    for _ in range(2):
        with pytest.raises(LookupError) as caught:
            cache()
        assert caught.value is error
    service.error = None
    assert cache() == token(5)


def test_interrupt__is_not_taken_for_a_failed_refresh(
    cache: TokenCache, service: Service, clocks: Clocks
) -> None:
    cache()
    clocks.advance(850)
    service.errors[2] = Killed()
    with pytest.raises(Killed):
        cache()
    assert cache() == token(3)


# -- what it shows ---------------------------------------------------------------------------


def test_repr__shows_state_and_no_secret(
    make: Callable[..., TokenCache], service: Service, clocks: Clocks
) -> None:
    cache = make()
    name = f"{Service.__module__}.Service.fetch"
    assert repr(cache) == f"<TokenCache of {name}: no token>"
    cache()
    assert repr(cache) == f"<TokenCache of {name}: valid for 900 s>"
    assert SECRET not in repr(cache._state.token)
    clocks.advance(850)
    with refreshing(cache, service):
        assert repr(cache) == f"<TokenCache of {name}: valid for 50 s, refreshing>"
    clocks.advance(900)
    assert repr(cache) == f"<TokenCache of {name}: expired>"


def test_repr__hides_the_arguments_of_a_partial(make: Callable[..., TokenCache]) -> None:
    assert repr(make(partial(str, SECRET))) == "<TokenCache of functools.partial: no token>"


async def coroutine() -> str:
    return SECRET


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((SECRET, 900), {}, TypeError, "fetch must be callable, not str."),
        ((coroutine, 900), {}, TypeError, "fetch must not be a coroutine function."),
        ((str, 0), {}, ValueError, "lifetime must be a number of seconds above 0 or None, not 0."),
        ((str, SECRET), {}, ValueError, "or None, not str."),
        ((str, float("nan")), {}, ValueError, "or None, not nan."),
        ((str, 900), {"margin": -1}, ValueError, "margin must be .* at least 0 or None, not -1."),
        ((str, 900), {"margin": 900}, ValueError, "margin must be less than lifetime."),
        ((str,), {}, TypeError, "lifetime"),
    ],
)
def test_wrong_argument__is_refused_at_once(
    arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        TokenCache(*arguments, **options)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "lifetime", "error", "message"),
    [
        (SECRET, None, TypeError, "returned no expiry. Give TokenCache the lifetime"),
        (None, 900, TypeError, "must return a str, or a pair of a str and its expiry, not NoneT"),
        (SECRET.encode(), 900, TypeError, "not bytes"),
        ((SECRET, NOW, 1), 900, TypeError, "not tuple"),
        ("", 900, ValueError, "empty token"),
        ((SECRET, "soon"), 900, TypeError, "must be an aware datetime, or seconds .*, not str"),
        ((SECRET, True), 900, TypeError, "not bool"),
        ((SECRET, datetime(2100, 1, 1)), 900, ValueError, "naive datetime"),  # noqa: DTZ001
        ((SECRET, NOW * 1000), 900, ValueError, "not in seconds since the epoch"),
        ((SECRET, float("nan")), 900, ValueError, "not in seconds since the epoch"),
        ((SECRET, 3600), 900, ValueError, "expired .* s ago. An expiry is an aware datetime"),
    ],
)
def test_wrong_answer_of_fetch__is_the_callers_error(
    make: Callable[..., TokenCache],
    answer: Any,
    lifetime: float | None,
    error: type[Exception],
    message: str,
) -> None:
    cache = make(lambda: answer, lifetime)
    with pytest.raises(error, match=message) as caught:
        cache()
    assert SECRET not in str(caught.value)
    assert "no token" in repr(cache)
