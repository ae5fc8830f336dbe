"""Pools over a fake driver, with proof that everything came home."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_poolrouter.pooling import Pool, PoolConfig, PoolTimeout
from tests.support.doubles import FakeConnector, ManualClock, Task
from tests.support.waiting import eventually

OPTIONS: dict[str, Any] = {
    "pool_size": 2,
    "max_overflow": 0,
    "pool_timeout": 10.0,
    "pool_recycle": None,
    "pool_pre_ping": True,
    "max_idle": None,
}
MakePool = Callable[..., Pool]


@pytest.fixture
def connector() -> FakeConnector:
    return FakeConnector()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make_pool(connector: FakeConnector, clock: ManualClock) -> Iterator[MakePool]:
    """Make pools of two connections that never expire, unless the test asks for more."""
    pools: list[Pool] = []

    def make(connector: Any = connector, arguments: Any = (), **options: Any) -> Pool:
        config = PoolConfig(**{**OPTIONS, **options})
        pool = Pool("shop", config, connector, **{"clock": clock, **dict(arguments)})
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        assert_at_rest(pool)
        pool.close()
        assert pool.is_empty
    assert connector.mistakes == []
    assert connector.live == []


def assert_nothing_lost(pool: Pool) -> None:
    """Assert that as many leases as ever can be had at once, and no more."""
    assert_at_rest(pool)
    leases = [pool.checkout(timeout=0) for _ in range(pool.config.max)]
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    assert len({id(lease.connection) for lease in leases}) == pool.config.max
    for lease in leases:
        pool.checkin(lease)


def queued(pool: Pool, work: Callable[..., Any], *args: Any) -> Task:
    """Run something in a thread that joins the pool's queue, and return when it waits there."""
    before = pool.status().waiting
    task = Task(work, *args)
    eventually(lambda: pool.status().waiting == before + 1 or not task.is_alive())
    return task


def use_once(pool: Pool, number: int = 1) -> None:
    """Have so many connections leased at once and then idle."""
    for lease in [pool.checkout() for _ in range(number)]:
        pool.checkin(lease)


def assert_at_rest(pool: Pool) -> None:
    """Assert that every lease is home and the figures add up."""
    status = pool.status()
    assert (status.checkedout, status.waiting, status.opening) == (0, 0, 0), pool
    assert status.connects - status.closes == status.open == status.checkedin
    assert status.open <= status.max
