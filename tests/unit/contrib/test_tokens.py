"""The cache for passwords that expire: when it fetches, who waits, and what it gives away."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from django_poolrouter.contrib.tokens import TokenCache
from tests.support.doubles import Gate, Killed, Task
from tests.support.waiting import LIMIT

NOW = datetime(2026, 5, 9, 12, tzinfo=UTC).timestamp()
SECRET = "s3cret-of-the-vault"


class Clocks:
    """A wall clock and a monotonic clock that move when they are told to."""

    def __init__(self) -> None:
        self.wall = NOW
        self.steady = 1_000.0

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


class Service:
    """Hands out tokens, or fails; calls ``on_fetch`` before each answer."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: BaseException | None = None
        self.errors: dict[int, BaseException] = {}
        """By the number of the call."""
        self.on_fetch: Callable[[], Any] = int

    def fetch(self) -> str:
        self.calls += 1
        number = self.calls
        self.on_fetch()
        error = self.errors.get(number, self.error)
        if error is not None:
            raise error
        return f"{SECRET}-{number}"


class WaitingRoom(threading.Condition):
    """Counts the threads that begin to wait for a refresh."""

    def __init__(self) -> None:
        super().__init__()
        self._arrivals = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self._arrivals.release()  # with the lock held: no refresh ends before this thread waits
        return super().wait(timeout)

    def expect(self, threads: int) -> None:
        """Return when so many threads wait."""
        for _ in range(threads):
            assert self._arrivals.acquire(timeout=LIMIT), "a thread did not wait"


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def make(clocks: Clocks, service: Service) -> Callable[..., TokenCache]:
    """Make a cache with these clocks, for the service and tokens that live for 900 s."""

    def make(
        fetch: Callable[[], Any] = service.fetch, lifetime: float | None = 900, **options: Any
    ) -> TokenCache:
        return TokenCache(
            fetch,
            lifetime,
            clock=lambda: clocks.wall,
            steady=lambda: clocks.steady,
            **options,
        )

    return make


@pytest.fixture
def cache(make: Callable[..., TokenCache]) -> TokenCache:
    return make()


def token(number: int) -> str:
    return f"{SECRET}-{number}"


def watch_waiters(cache: TokenCache) -> WaitingRoom:
    room = cache._state.changed = WaitingRoom()
    return room


@contextmanager
def refreshing(cache: TokenCache, service: Service) -> Iterator[Task]:
    """Run a block while another thread refreshes the token; it must have none or an old one."""
    gate = Gate()
    service.on_fetch = gate
    task = Task(cache)
    gate.wait_for()
    try:
        yield task
    finally:
        service.on_fetch = int
        gate.open()
        task.finished()


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


# -- one refresh at a time -------------------------------------------------------------------


def ask_at_once(ask: Callable[[], str], threads: int = 16) -> list[Task]:
    barrier = threading.Barrier(threads)

    def work() -> str:
        barrier.wait(LIMIT)
        return ask()

    return [Task(work) for _ in range(threads)]


def test_sixteen_threads_without_a_token__wait_for_one_refresh(
    cache: TokenCache, service: Service
) -> None:
    room, gate = watch_waiters(cache), Gate()
    service.on_fetch = gate
    tasks = ask_at_once(cache)
    gate.wait_for(1)
    room.expect(15)
    gate.open()
    assert {task.result() for task in tasks} == {token(1)}
    assert service.calls == 1


def test_sixteen_threads_without_the_cache__fetch_sixteen_times(service: Service) -> None:
    """The control of the test above: these threads do fetch at the same time."""
    gate = Gate()
    service.on_fetch = gate
    tasks = ask_at_once(service.fetch)
    gate.wait_for(16)
    gate.open()
    assert len({task.result() for task in tasks}) == service.calls == 16


def test_valid_token__is_used_by_all_others_during_a_refresh(
    cache: TokenCache, service: Service, clocks: Clocks
) -> None:
    cache()
    clocks.advance(850)
    with refreshing(cache, service) as refresh:
        assert {task.result() for task in ask_at_once(cache)} == {token(1)}
    assert refresh.result() == cache() == token(2)
    assert service.calls == 2


def test_token_that_expires_during_a_refresh__makes_the_others_wait(
    cache: TokenCache, service: Service, clocks: Clocks
) -> None:
    cache()
    clocks.advance(850)
    room = watch_waiters(cache)
    with refreshing(cache, service):
        clocks.advance(50)
        task = Task(cache)
        room.expect(1)
    assert task.result() == token(2)


def test_failed_refresh__gives_its_error_to_all_that_waited(
    cache: TokenCache, service: Service
) -> None:
    """If each of them fetched again, the last would wait for sixteen time limits."""
    room, gate = watch_waiters(cache), Gate()
    service.on_fetch = gate
    service.error = LookupError("sealed")
    tasks = ask_at_once(cache)
    gate.wait_for()
    room.expect(15)
    gate.open()
    assert {repr(task.error()) for task in tasks} == {"LookupError('sealed')"}
    assert service.calls == 1
    service.error = None
    assert cache() == token(2)


def test_interrupted_refresh__is_repeated_by_one_that_waited(
    cache: TokenCache, service: Service
) -> None:
    """A KeyboardInterrupt or gevent.Timeout is meant for one thread."""
    room = watch_waiters(cache)
    service.errors[1] = Killed()
    with refreshing(cache, service) as refresh:
        tasks = [Task(cache) for _ in range(3)]
        room.expect(3)
    assert isinstance(refresh.error(), Killed)
    assert {task.result() for task in tasks} == {token(2)}


def test_clear_during_a_refresh__is_followed_by_another_one(
    cache: TokenCache, service: Service
) -> None:
    """The service may have read the token before the server refused it."""
    room = watch_waiters(cache)
    with refreshing(cache, service) as refresh:
        cache.clear()
        late = Task(cache)
        room.expect(1)
        assert service.calls == 1  # one refresh at a time, even then
    assert refresh.result() == token(1)
    assert late.result() == cache() == token(2)


def test_fetch_that_needs_the_token__fails_and_does_not_hang(
    make: Callable[..., TokenCache],
) -> None:
    """As a secret that is read from the same database."""
    cache: TokenCache
    cache = make(lambda: cache())
    error = Task(cache).error()
    assert isinstance(error, RuntimeError)
    assert "needs the token itself" in str(error)


def test_finalizer_that_runs_while_the_lock_is_held__gets_the_token(service: Service) -> None:
    """A lost wrapper checks its connection in, and a reset on MySQL asks for the password."""
    got: list[str] = []
    finalizers: list[TokenCache] = []

    def clock() -> float:
        if finalizers:
            got.append(finalizers.pop()())
        return NOW

    cache = TokenCache(service.fetch, 900, clock=clock, steady=lambda: 0.0)
    cache()
    finalizers.append(cache)
    assert Task(cache).result() == token(1)
    assert got == [token(1)]


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
        f"{__name__}.Service.fetch failed, so its old token is used, for {left} s at most:"
        " the vault is sealed for ********"
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


# -- forks and copies ------------------------------------------------------------------------


def in_forked_child(work: Callable[[], str]) -> str:
    """Return what a piece of work returns in a child, which is killed if it hangs."""
    answer, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(int(LIMIT))
            os.write(told, work().encode())
        finally:
            os._exit(0)
    os.close(told)
    with os.fdopen(answer) as file:
        text = file.read()
    os.waitpid(child, 0)
    return text


FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@FORKS
def test_child_forked_during_a_refresh__refreshes_for_itself(
    cache: TokenCache, service: Service
) -> None:
    with refreshing(cache, service) as refresh:
        service.on_fetch = int
        assert in_forked_child(cache) == token(2)
    assert refresh.result() == cache() == token(1)


@FORKS
def test_child_forked_while_the_lock_is_held__does_not_hang(cache: TokenCache) -> None:
    gate = Gate()

    def hold() -> None:
        with cache._state.changed:
            gate()

    holder = Task(hold)
    gate.wait_for()
    assert in_forked_child(cache) == token(1)
    assert in_forked_child(lambda: repr(cache)) == repr(cache)
    gate.open()
    holder.result()


def test_forked_child__inherits_the_token(cache: TokenCache, clocks: Clocks) -> None:
    cache()
    assert in_forked_child(cache) == token(1)
    clocks.advance(850)
    assert in_forked_child(cache) == token(2)


def test_copied_settings__have_the_same_cache(cache: TokenCache) -> None:
    settings = {"PASSWORD": cache, "OPTIONS": {"password": cache}}
    for copied in (copy.deepcopy(settings), copy.copy(settings)):
        assert copied["PASSWORD"] is cache
        assert copied == settings
    assert copy.copy(cache) is cache


def fetch_by_name() -> str:
    return SECRET


def test_pickled_cache__is_configured_alike_and_has_no_token() -> None:
    cache = TokenCache(fetch_by_name, 900, margin=30)
    assert cache() == SECRET
    pickled = pickle.dumps({"PASSWORD": cache})
    assert SECRET.encode() not in pickled
    loaded = pickle.loads(pickled)["PASSWORD"]  # noqa: S301
    assert "no token" in repr(loaded)
    assert loaded() == SECRET
    (make, arguments), (again, same) = cache.__reduce__(), loaded.__reduce__()
    assert (again.keywords, same) == (make.keywords, arguments)
    assert (make.keywords["margin"], arguments) == (30, (fetch_by_name, 900))


# -- what it shows ---------------------------------------------------------------------------


def test_repr__shows_state_and_no_secret(
    make: Callable[..., TokenCache], service: Service, clocks: Clocks
) -> None:
    cache = make()
    name = f"{__name__}.Service.fetch"
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
