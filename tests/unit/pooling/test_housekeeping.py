"""Upkeep: rest, age, minimum and leaks; and the one thread that sees to it."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from django_poolrouter.pooling import Housekeeper
from tests.support.doubles import FakeConnector, Gate, ManualClock, Task
from tests.support.waiting import eventually
from tests.unit.pooling.conftest import MakePool, queued, use_once

THREAD = "poolrouter-housekeeper"

# -- minimum, rest and age ---------------------------------------------------------------------


def test_upkeep__opens_min_idle_ahead_of_demand(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=5, min_idle=3)
    pool.upkeep()
    assert len(connector.live) == 3
    lease = pool.checkout()
    pool.upkeep()
    assert (pool.status().checkedin, pool.status().checkedout) == (3, 1)
    pool.checkin(lease)
    assert pool.status().checkouts == 1


def test_upkeep__does_not_exceed_pool_size(make_pool: MakePool, connector: FakeConnector) -> None:
    pool = make_pool(pool_size=2, max_overflow=3, min_idle=2)
    leases = [pool.checkout(), pool.checkout()]
    pool.upkeep()
    assert len(connector.live) == 2
    for lease in leases:
        pool.checkin(lease)


def test_upkeep__gives_up_until_the_next_round_when_a_connect_fails(
    make_pool: MakePool, connector: FakeConnector, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(min_idle=2)
    connector.fail_next()
    with caplog.at_level(logging.INFO, "django_poolrouter.pool"):
        pool.upkeep()
    assert "could not connect ahead of demand: the fake server is down" in caplog.text
    assert connector.refused == 1
    pool.upkeep()
    assert pool.status().checkedin == 2


def test_upkeep__after_a_slow_failure_leaves_time_to_the_other_pools(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(min_idle=1)
    connector.on_open = lambda: clock.advance(10)  # a server that swallows packets
    connector.fail_next()
    pool.upkeep()
    clock.advance(89)
    pool.upkeep()
    assert (connector.refused, connector.opened) == (1, [])
    clock.advance(1)
    pool.upkeep()
    assert pool.status().checkedin == 1


def test_upkeep__after_a_very_slow_failure_waits_two_minutes_at_most(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(min_idle=1)
    connector.on_open = lambda: clock.advance(130)
    connector.fail_next()
    pool.upkeep()
    clock.advance(120)
    pool.upkeep()
    assert pool.status().checkedin == 1


def test_upkeep__hands_what_it_opened_to_a_waiter(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=1, min_idle=1)
    connector.on_open = gate = Gate()
    keeper = Task(pool.upkeep)
    gate.wait_for()
    assert pool.status().opening == 1
    waiter = queued(pool, pool.checkout)
    gate.open()
    lease = waiter.result()
    assert len(connector.opened) == 1
    pool.checkin(lease)
    keeper.result()


def test_upkeep__of_a_closed_pool_opens_nothing(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(min_idle=1)
    pool.close()
    pool.upkeep()
    assert connector.opened == []


def test_upkeep__closes_what_rested_down_to_min_idle(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=5, min_idle=2, max_idle=60.0)
    use_once(pool, 5)
    clock.advance(59)
    use_once(pool)  # the last one, which is the most recently used
    pool.upkeep()
    assert len(connector.live) == 5
    clock.advance(1)
    pool.upkeep()
    assert len(connector.live) == 2
    assert pool.status().recycled == 3
    clock.advance(1000)
    pool.upkeep()
    assert len(connector.live) == 2


def test_upkeep__closes_the_longest_idle_first(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=3, max_idle=60.0)
    use_once(pool, 3)
    clock.advance(30)
    use_once(pool, 2)
    clock.advance(30)
    pool.upkeep()
    assert connector.live == connector.opened[1:]


def test_upkeep__replaces_what_is_too_old(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(min_idle=1, pool_recycle=100.0)
    pool.upkeep()
    clock.advance(100)
    pool.upkeep()
    assert connector.live == [connector.opened[1]]


def test_upkeep__keeps_min_idle_when_others_are_too_old(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=2, min_idle=1, max_idle=50.0, pool_recycle=100.0)
    use_once(pool)
    clock.advance(60)
    lease = pool.checkout()
    use_once(pool)
    pool.checkin(lease)  # now the older one is on top, and the younger below it
    use_once(pool)
    clock.advance(50)
    pool.upkeep()
    assert len(connector.live) == 1
    assert connector.live[0].number < 3


def test_max_idle_none__keeps_idle_connections(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(max_idle=None)
    use_once(pool, 2)
    clock.advance(1e8)
    pool.upkeep()
    assert len(connector.live) == 2


def test_upkeep_interval__is_none_while_there_is_nothing_to_keep_up(make_pool: MakePool) -> None:
    pool = make_pool(pool_recycle=100.0, max_idle=60.0)
    assert pool.upkeep_interval is None
    use_once(pool)
    assert pool.upkeep_interval == 6.0
    pool.close()
    assert pool.upkeep_interval is None


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"min_idle": 1}, 1.0),
        ({"pool_recycle": 3600.0, "max_idle": 600.0}, 30.0),
        ({"leak_after": 5.0, "max_idle": 600.0}, 0.5),
        ({"leak_after": 0.01}, 0.05),
    ],
)
def test_upkeep_interval__follows_the_shortest_limit(
    make_pool: MakePool, options: dict[str, Any], seconds: float
) -> None:
    pool = make_pool(**options)
    use_once(pool)
    assert pool.upkeep_interval == seconds


# -- leaks -----------------------------------------------------------------------------------------


def holds_a_connection(pool: Any, gate: Gate) -> None:
    lease = pool.checkout()
    gate()
    pool.checkin(lease)


def leaks(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_leak__is_reported_once_with_the_holders_stack(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(leak_after=10.0)
    gate = Gate()
    holder = Task(holds_a_connection, pool, gate)
    gate.wait_for()
    clock.advance(9.9)
    pool.upkeep()
    assert leaks(caplog) == []
    clock.advance(2.1)
    pool.upkeep()
    pool.upkeep()
    (report,) = leaks(caplog)
    assert report.startswith(
        "pool shop: a connection has been in use for 12.0 s, longer than leak_after, by:\n"
    )
    assert "in holds_a_connection" in report
    assert pool.status().leaks == 1
    gate.open()
    holder.result()
    lease = pool.checkout()
    clock.advance(11)
    pool.upkeep()
    assert len(leaks(caplog)) == 2, "the next holder of the same connection"
    pool.checkin(lease)
    pool.upkeep()
    assert pool.status().leaks == 2


def test_leak__by_a_thread_that_has_ended_is_reported_as_such(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(leak_after=10.0)
    lease = Task(pool.checkout).result()
    clock.advance(10)
    pool.upkeep()
    # Its number may have gone to a new thread by now, but there is none here.
    (report,) = leaks(caplog)
    assert "(its thread has ended)" in report
    pool.checkin(lease)


def test_idle_connections__are_no_leaks(
    make_pool: MakePool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(leak_after=10.0)
    use_once(pool, 2)
    clock.advance(100)
    pool.upkeep()
    assert leaks(caplog) == []


# -- the thread ------------------------------------------------------------------------------------


class KeptUp:
    """What the housekeeper needs to know of a pool."""

    def __init__(self, interval: float | None = 0.001, asks_for_thread: bool = False) -> None:
        self.upkeep_interval = interval
        self.asks_for_thread = asks_for_thread
        self.rounds = threading.Semaphore(0)
        self.fails = False

    def upkeep(self) -> None:
        self.rounds.release()
        if self.fails:
            raise ValueError("as told")

    def wait_for_round(self) -> None:
        assert self.rounds.acquire(timeout=20)


@pytest.fixture
def housekeeper() -> Iterator[Housekeeper]:
    keeper = Housekeeper()
    yield keeper
    keeper.stop(patience=20)
    assert threads() == []


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def test_housekeeper__starts_no_thread_before_there_is_something_to_do(
    make_pool: MakePool, housekeeper: Housekeeper
) -> None:
    pool = make_pool(max_idle=600.0, arguments={"on_open": housekeeper.watch})
    housekeeper.watch(pool)
    assert threads() == []
    lease = pool.checkout()
    (thread,) = threads()
    assert thread.daemon
    pool.checkin(lease)


def test_housekeeper__is_one_thread_for_all_pools(housekeeper: Housekeeper) -> None:
    pools = [KeptUp(), KeptUp()]
    for pool in pools:
        housekeeper.watch(pool)  # type: ignore[arg-type]
        housekeeper.watch(pool)  # type: ignore[arg-type]
    for pool in pools:
        pool.wait_for_round()
    assert len(threads()) == 1


def test_housekeeper__ends_when_nothing_is_left_to_do_and_starts_again(
    housekeeper: Housekeeper,
) -> None:
    pool = KeptUp()
    for _ in range(2):
        pool.upkeep_interval = 0.001
        housekeeper.watch(pool)  # type: ignore[arg-type]
        pool.wait_for_round()
        pool.upkeep_interval = None
        eventually(lambda: not threads())


def test_housekeeper__ends_when_its_pools_are_closed(
    make_pool: MakePool, housekeeper: Housekeeper
) -> None:
    pool = make_pool(max_idle=0.5, arguments={"on_open": housekeeper.watch})
    use_once(pool)
    assert len(threads()) == 1
    pool.close()
    eventually(lambda: not threads())


def test_housekeeper__goes_on_when_an_upkeep_fails(
    housekeeper: Housekeeper, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = KeptUp(), KeptUp()
    bad.fails = True
    for pool in (bad, good):
        housekeeper.watch(pool)  # type: ignore[arg-type]
    for _ in range(2):
        bad.wait_for_round()
        good.wait_for_round()
    housekeeper.stop(patience=20)
    assert "upkeep of <" in caplog.text
    assert "ValueError: as told" in caplog.text


def test_housekeeper__stops_and_goes_on_with_the_next_connection(housekeeper: Housekeeper) -> None:
    pool = KeptUp()
    housekeeper.watch(pool)  # type: ignore[arg-type]
    pool.wait_for_round()
    housekeeper.stop(patience=20)
    assert threads() == []
    housekeeper.stop()
    pool.rounds = threading.Semaphore(0)
    housekeeper.watch(pool)  # type: ignore[arg-type]
    pool.wait_for_round()
    assert len(threads()) == 1


def test_housekeeper__stops_soon_though_it_would_rest_for_long(housekeeper: Housekeeper) -> None:
    pool = KeptUp(3600.0)
    housekeeper.watch(pool)  # type: ignore[arg-type]
    Task(housekeeper.stop, 20).result()
    assert threads() == []


def test_housekeeper__may_be_stopped_by_its_own_thread(housekeeper: Housekeeper) -> None:
    pool = KeptUp()
    pool.upkeep = housekeeper.stop  # type: ignore[method-assign]
    housekeeper.watch(pool)  # type: ignore[arg-type]
    eventually(lambda: not threads())


def test_housekeeper__keeps_no_pool_alive(housekeeper: Housekeeper) -> None:
    pool = KeptUp()
    gone = weakref.ref(pool)
    housekeeper.watch(pool)  # type: ignore[arg-type]
    pool.wait_for_round()
    del pool
    eventually(lambda: gc.collect() >= 0 and gone() is None)
    eventually(lambda: not threads())


def test_housekeeper__does_not_look_at_its_pools_while_one_is_added(
    housekeeper: Housekeeper,
) -> None:
    class Watched(weakref.WeakSet[Any]):
        unguarded = 0

        def __iter__(self) -> Iterator[Any]:
            Watched.unguarded += not housekeeper._lock.locked()
            return super().__iter__()

    housekeeper._pools = Watched()
    pool = KeptUp()
    housekeeper.watch(pool)  # type: ignore[arg-type]
    for _ in range(3):
        pool.wait_for_round()
    assert Watched.unguarded == 0


def test_checkout__does_without_the_thread_where_none_can_be_started(
    make_pool: MakePool, housekeeper: Housekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = make_pool(max_idle=600.0, arguments={"on_open": housekeeper.watch})
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        lease = pool.checkout()
    use_once(pool)  # a new connection, and another try
    assert len(threads()) == 1
    pool.checkin(lease)


def test_resume__goes_on_for_those_that_ask_for_it(housekeeper: Housekeeper) -> None:
    modest = KeptUp()
    housekeeper.watch(modest)
    housekeeper.stop(patience=20)
    housekeeper.resume()
    assert threads() == []
    asking = KeptUp(asks_for_thread=True)
    housekeeper.watch(asking)
    housekeeper.stop(patience=20)
    housekeeper.resume()
    for pool in (modest, asking):
        pool.wait_for_round()
    assert len(threads()) == 1


@pytest.mark.parametrize(
    ("options", "asks"), [({}, False), ({"min_idle": 1}, True), ({"leak_after": 5.0}, True)]
)
def test_pool__asks_for_the_thread_by_its_options(
    make_pool: MakePool, options: dict[str, Any], asks: bool
) -> None:
    assert make_pool(**options).asks_for_thread is asks
