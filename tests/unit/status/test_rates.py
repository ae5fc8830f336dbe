"""What poolstatus --watch shows of the time between two samples."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from django_poolrouter.pooling import PoolStatus
from django_poolrouter.pooling.histogram import WAIT_BUCKETS, bucket
from django_poolrouter.status.rates import rates
from django_poolrouter.status.report import PoolReport, Report


def report(clock: float, *aliases: str, **figures: Any) -> Report:
    status = replace(PoolStatus.unopened(), **figures)
    pools = tuple(
        PoolReport(alias, "primary", alias, "sqlite", "batch", 1, status, "ok") for alias in aliases
    )
    return Report(datetime.now(UTC), clock, "here", pools, ())


def waits(count: int, seconds: float) -> tuple[int, ...]:
    buckets = [0] * WAIT_BUCKETS
    buckets[bucket(round(seconds * 1e9))] = count
    return tuple(buckets)


def test_rates__are_of_the_time_between() -> None:
    before = report(10, "default", checkouts=100, waits=50, wait_buckets=waits(50, 9))
    after = report(
        12,
        "default",
        checkouts=300,
        waits=70,
        timeouts=2,
        refused=4,
        connects=1,
        wait_buckets=tuple(map(sum, zip(waits(50, 9), waits(20, 0.02), strict=True))),
    )
    found = rates(before, after)["default"]
    assert (found.seconds, found.checkouts_per_s, found.waits_per_s) == (2, 100, 10)
    assert (found.timeouts_per_s, found.connects_per_s) == (3, 0.5)
    assert found.p95_wait_s == 0.02, "waits of before do not count"


def test_rates__are_never_below_0() -> None:
    found = rates(report(1, "default", checkouts=9), report(2, "default", checkouts=3))
    assert found["default"].checkouts_per_s == 0


def test_rates__need_two_reports_of_a_pool_with_time_between() -> None:
    assert rates(report(1, "default"), report(1, "default")) == {}
    assert list(rates(report(1, "default"), report(2, "default", "new"))) == ["default"]
