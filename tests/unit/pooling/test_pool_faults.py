"""What fails in the driver, or in the caller, costs the pool nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar

import pytest

from django_poolrouter.pooling import NoReset, PoolTimeout, grants
from django_poolrouter.pooling.waiters import Waiter
from tests.support.doubles import ConnectFailed, FakeConnector, Gate, Killed, ManualClock, Task
from tests.support.waiting import eventually
from tests.unit.pooling.conftest import MakePool, assert_nothing_lost, queued, use_once

ERRORS = pytest.mark.parametrize("error", [ConnectFailed, Killed])


def raising(error: type[BaseException], times: int = 1) -> Callable[..., None]:
    """Return a function that raises so many times."""
    left = [error("as told")] * times

    def act(*_: Any) -> None:
        if left:
            raise left.pop()

    return act


# -- opening --------------------------------------------------------------------------------


@ERRORS
def test_failed_connect__reaches_the_caller_and_frees_the_place(
    make_pool: MakePool, connector: FakeConnector, error: type[BaseException]
) -> None:
    pool = make_pool(pool_size=1)
    failure = error("no route")
    connector.fail_next(3, failure)
    for _ in range(3):
        with pytest.raises(error) as caught:
            pool.checkout()
        assert caught.value is failure
    assert pool.status().connect_errors == 3
    assert_nothing_lost(pool)


@ERRORS
def test_failed_connect__lets_the_next_waiter_try(
    make_pool: MakePool, connector: FakeConnector, error: type[BaseException]
) -> None:
    pool = make_pool(pool_size=1)
    connector.on_open = gate = Gate()
    connector.fail_next(2, error("no route"))
    opener = Task(pool.checkout)
    gate.wait_for()
    waiters = [queued(pool, pool.checkout), queued(pool, pool.checkout)]
    gate.open()
    assert isinstance(opener.error(), error)
    assert isinstance(waiters[0].error(), error)
    pool.checkin(waiters[1].result())
    assert_nothing_lost(pool)


@ERRORS
def test_connection_that_cannot_be_looked_at__is_closed(
    make_pool: MakePool, connector: FakeConnector, error: type[BaseException]
) -> None:
    pool = make_pool(pool_size=1)
    connector.on_fileno = raising(error)
    with pytest.raises(error):
        pool.checkout()
    assert connector.opened[0].closed
    assert_nothing_lost(pool)
    assert connector.most_live == 1


@ERRORS
def test_connection__is_closed_when_its_opening_cannot_be_announced(
    make_pool: MakePool, connector: FakeConnector, error: type[BaseException]
) -> None:
    pool = make_pool(pool_size=1, arguments={"on_open": raising(error)})
    with pytest.raises(error):
        pool.checkout()
    assert connector.opened[0].closed
    assert_nothing_lost(pool)


@ERRORS
def test_failed_connect_in_place_of_a_dead_one__frees_the_place(
    make_pool: MakePool,
    connector: FakeConnector,
    clock: ManualClock,
    error: type[BaseException],
) -> None:
    pool = make_pool(pool_size=1)
    use_once(pool)
    connector.opened[0].alive = False
    connector.fail_next(1, error("no route"))
    clock.advance(5)
    with pytest.raises(error):
        pool.checkout()
    assert pool.is_empty
    assert_nothing_lost(pool)


# -- testing, resetting, closing ----------------------------------------------------------------


def test_exception_in_ping__loses_nothing(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=2)
    use_once(pool, 2)
    clock.advance(5)
    connector.on_ping = raising(Killed)
    with pytest.raises(Killed):
        pool.checkout()
    assert connector.opened[1].closed
    assert_nothing_lost(pool)


def test_failed_reset__closes_the_connection(make_pool: MakePool, connector: FakeConnector) -> None:
    pool = make_pool(pool_size=1)
    connector.on_reset = raising(ConnectFailed)
    pool.checkin(pool.checkout())
    assert connector.live == []
    assert pool.status().lost == 1
    assert_nothing_lost(pool)


def test_connection_that_cannot_be_reset__is_replaced_and_not_lost(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    lost: list[Any] = []
    pool = make_pool(arguments={"on_lost": lost.append})
    connector.on_reset = raising(NoReset)
    use_once(pool)
    status = pool.status()
    assert (status.open, status.closes, status.recycled, status.lost) == (0, 1, 1, 0)
    assert lost == []


def test_exception_in_reset__closes_the_connection(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=1)
    connector.on_reset = raising(Killed)
    lease = pool.checkout()
    with pytest.raises(Killed):
        pool.checkin(lease)
    assert connector.live == []
    assert_nothing_lost(pool)


@ERRORS
def test_failed_reset__lets_a_waiter_open(
    make_pool: MakePool, connector: FakeConnector, error: type[BaseException]
) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    waiter = queued(pool, pool.checkout)
    connector.on_reset = raising(error)
    if error is Killed:
        with pytest.raises(Killed):
            pool.checkin(lease)
    else:
        pool.checkin(lease)
    lease = waiter.result()
    assert lease.connection is connector.opened[1]
    pool.checkin(lease)


def test_broken_connection__is_closed_without_a_reset(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=1)
    pool.checkin(pool.checkout(), broken=True)
    assert connector.was_reset == []
    assert connector.live == []
    assert pool.status().lost == 1
    assert_nothing_lost(pool)


def test_broken_connection__lets_a_waiter_open(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    waiter = queued(pool, pool.checkout)
    pool.checkin(lease, broken=True)
    pool.checkin(waiter.result())
    assert connector.most_live == 1


def test_failed_close__is_nobodys_concern(make_pool: MakePool, connector: FakeConnector) -> None:
    pool = make_pool(pool_size=1)
    connector.on_close = raising(ConnectFailed)
    pool.checkin(pool.checkout(), broken=True)
    assert_nothing_lost(pool)


@pytest.mark.parametrize("what", ["broken", "surplus", "cleared", "dead", "sweep"])
def test_exception_in_close__loses_nothing(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock, what: str
) -> None:
    pool = make_pool(pool_size=3, max_overflow=what == "surplus")
    leases = [pool.checkout() for _ in range(pool.config.max)]
    lease = leases.pop()
    if what == "cleared":
        pool.clear()
    if what in {"dead", "sweep"}:
        while leases:
            pool.checkin(leases.pop())
        pool.checkin(lease)
        clock.advance(5)
        connector.opened[2].alive = False
    connector.on_close = raising(Killed)
    closing = {"dead": pool.checkout, "sweep": pool.clear}.get(
        what, lambda: pool.checkin(lease, broken=what == "broken")
    )
    with pytest.raises(Killed):
        closing()
    for left in leases:
        pool.checkin(left)
    assert_nothing_lost(pool)


# -- waiting ---------------------------------------------------------------------------------------


class WaiterOfFate(Waiter):
    """Does something while it waits, and then wakes up however it is told."""

    __slots__ = ()
    acts: ClassVar[list[Callable[[], object]]] = []
    end: ClassVar[type[BaseException] | None] = None

    def wait(self, timeout: float) -> bool:
        if not self.acts:
            return super().wait(timeout)
        self.acts.pop()()
        if self.end is not None:
            raise self.end
        return False


def fate(act: Callable[[], object], end: type[BaseException] | None = None) -> None:
    """Let the next waiter do something, and then be killed or believe its time is up."""
    WaiterOfFate.acts.append(act)
    WaiterOfFate.end = end


@pytest.fixture(autouse=True)
def waiters_of_fate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "Waiter", WaiterOfFate)


@pytest.mark.parametrize("broken", [False, True], ids=["entry", "right to open"])
def test_waiter_that_is_killed__passes_on_what_it_was_granted(
    make_pool: MakePool, broken: bool
) -> None:
    pool = make_pool(pool_size=2)
    lease, other = pool.checkout(), pool.checkout()
    fate(lambda: pool.checkin(lease, broken=broken), Killed)
    with pytest.raises(Killed):
        pool.checkout()
    assert pool.status().waiting == pool.status().opening == 0
    pool.checkin(other)
    assert_nothing_lost(pool)


def test_waiter_that_is_killed__leaves_the_queue(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    fate(lambda: None, Killed)
    with pytest.raises(Killed):
        pool.checkout()
    assert pool.status().waiting == 0
    pool.checkin(lease)
    assert pool.status().checkedin == 1


def test_waiter_that_is_killed__passes_on_to_the_next(
    make_pool: MakePool,
) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    second: list[Task] = []

    def act() -> None:
        second.append(queued(pool, pool.checkout))
        pool.checkin(lease)

    fate(act, Killed)
    with pytest.raises(Killed):
        pool.checkout()
    pool.checkin(second[0].result())
    assert_nothing_lost(pool)


@pytest.mark.parametrize("broken", [False, True], ids=["entry", "right to open"])
def test_grant_at_the_moment_of_the_timeout__is_kept(make_pool: MakePool, broken: bool) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    fate(lambda: pool.checkin(lease, broken=broken))
    pool.checkin(pool.checkout())
    assert pool.status().timeouts == 0
    assert_nothing_lost(pool)


@pytest.fixture
def killed_by_signal() -> Iterator[Callable[[], None]]:
    """Something for another thread to call: it raises Killed in the main thread."""

    def handler(*_: Any) -> None:
        raise Killed

    before = signal.signal(signal.SIGUSR1, handler)
    yield lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_signal_while_waiting__loses_nothing(
    make_pool: MakePool, killed_by_signal: Callable[[], None]
) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()

    def kill_the_waiter() -> None:
        eventually(lambda: pool.status().waiting)
        killed_by_signal()

    killer = Task(kill_the_waiter)
    with pytest.raises(Killed):
        pool.checkout(timeout=20)
    killer.result()
    assert pool.status().waiting == 0
    pool.checkin(lease)
    assert_nothing_lost(pool)


def test_capacity__is_whole_after_many_faults(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=3, max_overflow=2, ping_after=0.0)
    for error in (ConnectFailed, Killed):
        for hook in ("on_open", "on_ping", "on_reset", "on_close", "on_fileno"):
            for times in (1, 2, 3):
                setattr(connector, hook, raising(error, times))
                for _ in range(6):
                    with suppress(ConnectFailed, Killed, PoolTimeout):
                        pool.checkin(pool.checkout(timeout=0), broken=hook == "on_close")
                setattr(connector, hook, raising(error, 0))
    assert_nothing_lost(pool)
