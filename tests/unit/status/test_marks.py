"""Advice on session state, from the figures of a pool."""

from __future__ import annotations

from dataclasses import replace

from django_poolrouter.pooling import PoolConfig, PoolStatus
from django_poolrouter.sql.marks import MARKS
from django_poolrouter.status.inspection.marks import advise_on_marks

CONFIG = PoolConfig.for_profile("production")


def status(checkouts: int, **marks: int) -> PoolStatus:
    counts = tuple(marks.get(kind, 0) for kind in MARKS)
    return replace(PoolStatus.unopened(CONFIG), checkouts=checkouts, marks=counts)


def advice(figures: PoolStatus | None, reset: str = "auto", *, tells: bool = True) -> list[str]:
    return list(advise_on_marks(figures, replace(CONFIG, reset=reset), tells_session=tells))


def test_pool_whose_leases_are_nearly_all_marked__is_told_by_what() -> None:
    [told] = advice(status(100, setting=91, lock=4))
    assert told.startswith("95 of 100 leases were marked (setting 91, lock 4), so nearly each")
    assert '"configure"' in told


def test_few_marks_or_few_leases__need_no_advice() -> None:
    assert advice(status(100, setting=80)) == []
    assert advice(status(10, setting=10)) == []
    assert advice(None) == []


def test_backend_that_tells_nothing__only_rolls_back() -> None:
    [told] = advice(status(100), tells=False)
    assert told.startswith('reset "auto" only rolls back here')
    assert advice(status(100), "session", tells=False) == []


def test_other_resets__are_no_matter_of_marks() -> None:
    assert advice(status(100, setting=100), "session") == []
    assert advice(status(100, setting=100), "rollback") == []
