"""What follows a read that failed, as a table of all there is."""

from __future__ import annotations

import itertools

import pytest

from django_poolrouter.routing.repeat import Fault, NextStep, after_failure

RAISE, LEAVE, MOVE, EJECT = NextStep

#: (fault, was sent, is repeated) on a replica.
TABLE = {
    ("lost", True, False): EJECT,
    ("lost", True, True): LEAVE,
    ("conflict", True, False): MOVE,
    ("conflict", True, True): RAISE,
    (None, True, False): RAISE,
    (None, True, True): RAISE,
    # What could not be sent says nothing of the read, so every server may be tried.
    ("lost", False, False): EJECT,
    ("lost", False, True): EJECT,
    ("conflict", False, False): EJECT,
    ("conflict", False, True): EJECT,
    (None, False, False): EJECT,
    (None, False, True): EJECT,
}


@pytest.mark.parametrize(("fault", "was_sent", "is_repeated"), TABLE)
def test_after_failure__on_a_replica(
    fault: Fault | None, was_sent: bool, is_repeated: bool
) -> None:
    step = after_failure(fault, on_primary=False, was_sent=was_sent, is_repeated=is_repeated)
    assert step is TABLE[fault, was_sent, is_repeated]


def test_table__has_every_case() -> None:
    faults = ("lost", "conflict", None)
    assert set(TABLE) == set(itertools.product(faults, (True, False), (True, False)))


@pytest.mark.parametrize(("fault", "was_sent", "is_repeated"), TABLE)
def test_after_failure__on_the_primary_the_caller_gets_the_error(
    fault: Fault | None, was_sent: bool, is_repeated: bool
) -> None:
    step = after_failure(fault, on_primary=True, was_sent=was_sent, is_repeated=is_repeated)
    assert step is RAISE
