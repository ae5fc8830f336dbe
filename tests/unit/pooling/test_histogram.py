"""Quantiles of waiting times, from buckets."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from django_poolrouter.pooling import PoolStatus
from django_poolrouter.pooling.counters import add
from django_poolrouter.pooling.histogram import WAIT_BOUNDS, WAIT_BUCKETS, bucket, quantile


def filled(waits: list[float]) -> list[int]:
    buckets = [0] * WAIT_BUCKETS
    for seconds in waits:
        buckets[bucket(round(seconds * 1e9))] += 1
    return buckets


@pytest.mark.parametrize("number", range(len(WAIT_BOUNDS)))
def test_bucket__reaches_to_its_bound_and_no_further(number: int) -> None:
    bound = round(WAIT_BOUNDS[number] * 1e9)
    assert (bucket(bound), bucket(bound + 1)) == (number, number + 1)


def test_quantile__is_never_too_low_and_at_most_2_5_times_too_high() -> None:
    chance = random.Random(5)
    for _ in range(200):
        waits = sorted(chance.lognormvariate(-1, 2) for _ in range(chance.randrange(1, 300)))
        waits = [min(max(wait, 0.001), 500) for wait in waits]
        for share in (0.5, 0.95, 0.99):
            true = waits[math.ceil(share * len(waits)) - 1]
            assert true <= quantile(share, filled(waits)) <= 2.5 * true * (1 + 1e-9)


def test_quantile__counts_those_who_did_not_wait() -> None:
    assert quantile(0.95, filled([3.0] * 5), at_once=95) == 0.0
    assert quantile(0.95, filled([3.0] * 6), at_once=94) == 5.0


def test_quantile__of_nobody_is_0_and_of_endless_waits_the_last_bound() -> None:
    assert quantile(0.95, filled([])) == 0.0
    assert quantile(0.95, filled([9999.0])) == WAIT_BOUNDS[-1]


def test_p95_wait__has_those_that_timed_out() -> None:
    status = PoolStatus.unopened()
    waits = tuple(filled([0.15] * 10))
    status = add([status, replaced(checkouts=10, waits=10, timeouts=0, wait_buckets=waits)])
    assert status.p95_wait == 0.2
    assert replaced(checkouts=0, timeouts=10, wait_buckets=waits).p95_wait == 0.2
    assert replaced(checkouts=1000, waits=10, wait_buckets=waits).p95_wait == 0.0


def replaced(**figures: object) -> PoolStatus:
    return replace(PoolStatus.unopened(), **figures)  # type: ignore[arg-type]
