"""The words in which a process tells others what it knows of a replica."""

from __future__ import annotations

import pytest

from django_poolrouter.pooling import Page, PoolStatus
from django_poolrouter.pooling.counters import read as read_pool
from django_poolrouter.status.boards.reader import ProcessPool
from django_poolrouter.status.boards.replica_health import (
    STALE,
    STATES,
    ReplicaState,
    note,
    read,
    worst,
)
from django_poolrouter.status.report import STATES as POOL_STATES

NOW = 10**15


@pytest.mark.parametrize("lag", [None, 0.0, 2.5])
@pytest.mark.parametrize("state", STATES)
def test_note__is_read_as_it_was_written(state: str, lag: float | None) -> None:
    words = Page.private(3).words
    note(words, state, lag, NOW)  # type: ignore[arg-type]
    assert read(words, NOW) == ReplicaState(state, lag)  # type: ignore[arg-type]
    assert read_pool(words, NOW) == PoolStatus.unopened(), "no figure of the pool is touched"


def test_note__says_nothing_when_it_is_old_or_was_never_made() -> None:
    words = Page.private(3).words
    assert read(words, NOW) is None
    note(words, "up", 0.5, NOW)
    assert read(words, NOW + int(STALE * 1e9)) is not None
    assert read(words, NOW + int(STALE * 1e9) + 1) is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], None),
        ([None, None], None),
        ([None, ReplicaState("up", 0.5)], ReplicaState("up", 0.5)),
        ([ReplicaState("up", 0.5), ReplicaState("lagging", None)], ReplicaState("lagging", 0.5)),
        (
            [ReplicaState("ejected", None), ReplicaState("lagging", 20.0)],
            ReplicaState("ejected", 20.0),
        ),
    ],
)
def test_worst__is_the_worst_state_and_the_greatest_lag(
    found: list[ReplicaState | None], expected: ReplicaState | None
) -> None:
    assert worst(found) == expected


@pytest.mark.parametrize(
    ("health", "in_use", "waiting", "state"),
    [
        (None, 0, 0, "ok"),
        (ReplicaState("up", 0.0), 0, 0, "ok"),
        (ReplicaState("lagging", 20.0), 0, 0, "lagging"),
        (ReplicaState("lagging", 20.0), 3, 0, "busy"),
        (ReplicaState("ejected", None), 3, 0, "ejected"),
        (ReplicaState("ejected", None), 3, 1, "exhausted"),
    ],
)
def test_state__is_the_worst_that_is_true(
    health: ReplicaState | None, in_use: int, waiting: int, state: str
) -> None:
    status = PoolStatus(3, 3, in_use, 0, in_use, 0, waiting)
    pool = ProcessPool("replica", "sqlite", "batch", status, health=health)
    assert pool.state == state
    assert state in POOL_STATES
