"""The cache for passwords that expire, in threads, forked children and copies."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
from collections.abc import Callable

import pytest

from django_poolrouter.contrib.tokens import TokenCache
from tests.support.doubles import Gate, Killed, Task
from tests.support.waiting import LIMIT
from tests.unit.contrib.conftest import (
    NOW,
    SECRET,
    Clocks,
    Service,
    refreshing,
    token,
    watch_waiters,
)

# Python 3.12 warns of forks beside threads, and they are the subject here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

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


def test_child_forked_during_a_refresh__refreshes_for_itself(
    cache: TokenCache, service: Service
) -> None:
    with refreshing(cache, service) as refresh:
        service.on_fetch = int
        assert in_forked_child(cache) == token(2)
    assert refresh.result() == cache() == token(1)


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
