"""What observed use says of a pool's size."""

from __future__ import annotations

from dataclasses import replace

from django_poolrouter.pooling import PoolConfig
from django_poolrouter.status.inspection.sizing import Use, advise

CONFIG = replace(PoolConfig.for_profile("production"), pool_size=2, max_overflow=3)
# Two processes: 50 checkouts/s held 80 ms are 4 connections in use, by Little's law.
USE = Use(
    seconds=1.0,
    checkouts_per_s=50,
    in_use=4,
    busiest=2.25,
    peak=4,
    waits_per_s=0,
    p95_wait_s=0,
    connects_per_s=0,
)


def test_advice__has_the_numbers_that_it_rests_on() -> None:
    assert list(advise(USE, CONFIG)) == [
        "50.0 checkouts/s, each for 80.0 ms: 4.0 in use on average, 2.2 in the busiest process "
        "and 4 at most; that calls for pool_size 6 (it is 2)"
    ]


def test_advice__to_raise_a_size_that_overflows_all_the_time() -> None:
    _, advice = advise(replace(USE, connects_per_s=2), CONFIG)
    assert advice.startswith("2.0 connections/s are opened: raise pool_size from 2 to 6,")


def test_advice__on_a_pool_that_is_used_up() -> None:
    _, advice = advise(replace(USE, peak=5, waits_per_s=9), CONFIG)
    assert advice.startswith("9.0 callers/s had to wait and size + overflow is used up")
    assert "above 5" in advice


def test_advice__has_nothing_to_say_of_a_pool_that_is_hardly_used() -> None:
    for few in (0, 19):
        [advice] = advise(replace(USE, checkouts_per_s=few, in_use=0.5), CONFIG)
        assert advice.startswith(f"{few} checkouts within 1.0 s: too few")


def test_advice__has_something_to_say_of_few_long_uses() -> None:
    [advice] = advise(replace(USE, checkouts_per_s=1), CONFIG)
    assert "calls for pool_size 6" in advice
