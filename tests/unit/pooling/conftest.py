"""Pools over a fake driver, with proof that everything came home."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_poolrouter.pooling import Pool, PoolConfig
from tests.doubles import FakeConnector, ManualClock

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


def assert_at_rest(pool: Pool) -> None:
    """Assert that every lease is home and the figures add up."""
    status = pool.status()
    assert (status.checkedout, status.waiting, status.opening) == (0, 0, 0), pool
    assert status.connects - status.closes == status.open == status.checkedin
    assert status.open <= status.max
