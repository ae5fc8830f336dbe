"""Many callers at once: when connections break, when the server goes, when the pool is closed."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from django_poolrouter.pooling import Lease, Pool, PoolClosed, PoolConfig, PoolTimeout
from tests.support.doubles import ConnectFailed, FakeConnector, Gate, Killed, ManualClock, Task
from tests.support.waiting import eventually
from tests.unit.pooling.conftest import MakePool, assert_nothing_lost, queued, use_once

CROWD = 30


def test_crowd__is_served_in_order_though_every_connection_breaks(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    served: list[int] = []

    def work(number: int) -> None:
        lease = pool.checkout()
        served.append(number)
        pool.checkin(lease, broken=True)

    crowd = [queued(pool, work, number) for number in range(CROWD)]
    pool.checkin(lease, broken=True)
    for each in crowd:
        each.result()
    assert served == list(range(CROWD))
    assert connector.most_live == 1
    assert pool.status().lost == CROWD + 1
    assert_nothing_lost(pool)


def test_crowd__is_told_at_once_that_the_server_is_gone(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=1, pool_timeout=1000.0)
    lease = pool.checkout()
    crowd = [queued(pool, pool.checkout) for _ in range(CROWD)]
    connector.fail_next(CROWD)
    pool.checkin(lease, broken=True)
    assert all(isinstance(each.error(), ConnectFailed) for each in crowd)
    status = pool.status()
    assert (status.connect_errors, status.timeouts) == (CROWD, 0)
    assert_nothing_lost(pool)


def test_crowd__goes_home_when_the_pool_is_closed_in_the_midst_of_everything(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    """Some wait for the server's answer to a connect, to a ping, some use theirs, some queue."""
    pool = make_pool(pool_size=6, ping_after=0.0)
    use_once(pool, 2)
    pings, opens, closed = Gate(), Gate(), threading.Event()
    connector.on_ping, connector.on_open = pings, opens

    def work() -> None:
        lease = pool.checkout()
        closed.wait()
        pool.checkin(lease)

    crowd = [Task(work), Task(work)]
    pings.wait_for(2)
    crowd += [Task(work) for _ in range(CROWD)]
    opens.wait_for(4)
    eventually(lambda: pool.status().waiting == CROWD - 4)
    pool.close()
    for gate in (pings, opens):
        gate.open()
    closed.set()
    ends = [each.error() for each in crowd]
    assert [type(error) for error in ends[:2]] == [type(None)] * 2
    assert all(isinstance(error, PoolClosed) for error in ends[2:])
    assert connector.live == []
    assert pool.is_empty


def test_clear__is_refilled_while_old_connections_are_still_in_use(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=4, min_idle=2)
    leases = [pool.checkout(), pool.checkout()]
    pool.upkeep()
    old = {connection.number for connection in connector.live}
    pool.clear()
    pool.upkeep()
    assert pool.status().checkedin == 2
    for lease in leases:
        pool.checkin(lease)
    assert not old & {connection.number for connection in connector.live}
    assert pool.status().cleared == 4
    assert_nothing_lost(pool)


def test_upkeep_beside_callers__never_opens_more_than_the_maximum(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=3, max_overflow=1, min_idle=3)
    connector.on_open = gate = Gate()
    ahead = Task(pool.upkeep)
    gate.wait_for()
    crowd = [Task(lambda: pool.checkin(pool.checkout())) for _ in range(CROWD)]
    gate.wait_for(3)
    gate.open()
    for each in [ahead, *crowd]:
        each.result()
    assert connector.most_live <= 4
    assert_nothing_lost(pool)


@pytest.mark.parametrize("leased", [False, True])
def test_pool_that_is_dropped__is_kept_by_nobody(leased: bool) -> None:
    connector = FakeConnector()
    config = PoolConfig(2, 0, pool_timeout=1.0, pool_recycle=None, pool_pre_ping=True)
    pool = Pool("dropped", config, connector)
    use_once(pool)
    lease: Lease | None = pool.checkout() if leased else None
    dropped = weakref.ref(pool)
    del pool, lease
    gc.collect()
    assert dropped() is None


def once(how: str) -> Callable[..., None]:
    """Return a hook of the driver that goes well, fails, or is killed, the first time."""
    left: list[Any] = {"fails": [ConnectFailed], "killed": [Killed], "dead": ["dead"]}.get(how, [])

    def act(*connection: Any) -> None:
        error = left.pop() if left else None
        if error == "dead":
            connection[0].alive = False
        elif error is not None:
            raise error

    return act


HOOKS = ("on_open", "on_fileno", "on_ping", "on_reset", "on_close")


@pytest.mark.parametrize("first", ["ok", "fails", "killed"])
def test_any_combination_of_faults__loses_nothing(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock, first: str
) -> None:
    ways = [["dead" if hook == "on_ping" else "fails", "ok", "killed"] for hook in HOOKS[1:]]
    for rest in itertools.product(*ways):
        pool = make_pool(pool_size=2, max_overflow=1, ping_after=1.0)
        with suppress(ConnectFailed):
            use_once(pool)
        for hook, how in zip(HOOKS, (first, *rest), strict=True):
            setattr(connector, hook, once(how))
        for number in range(8):
            clock.advance(number % 3)
            with suppress(ConnectFailed, Killed, PoolTimeout):
                pool.checkin(pool.checkout(timeout=0), broken=number % 4 == 3)
        for hook in HOOKS:
            setattr(connector, hook, once("ok"))
        assert_nothing_lost(pool)
        pool.close()
