"""Lag, from the primary's positions of the past."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_poolrouter.routing import Position
from django_poolrouter.routing.lag import History, at_one_look


def at(place: int, epoch: str = "a") -> Position:
    return Position(epoch, {"": place})


def history(*samples: tuple[float, int], size: int = 600) -> History:
    made = History(size)
    for now, place in samples:
        made.add(at(place), now)
    return made


def test_lag__is_the_age_of_the_newest_sample_that_is_replayed() -> None:
    samples = history((0, 100), (1, 200), (2, 300), (3, 400))
    assert samples.lag(at(400), 3.5) == 0
    assert samples.lag(at(999), 3.5) == 0
    assert samples.lag(at(399), 3.5) == 1.5
    assert samples.lag(at(200), 3.5) == 2.5
    assert samples.lag(at(100), 3.5) == 3.5


def test_idle_primary__has_no_lagging_replica() -> None:
    samples = history(*((second, 100) for second in range(50)))
    assert samples.lag(at(100), 60) == 0


def test_dead_link__lets_the_lag_grow() -> None:
    samples = history((0, 100))
    for now in range(1, 5):
        samples.add(at(100 + now), now)
        assert samples.lag(at(100), now) == now


def test_fresh_standby__has_no_figure_instead_of_none() -> None:
    assert history((0, 100)).lag(None, 1) is None
    assert history((0, 100)).lag(at(50), 1) is None
    assert History().lag(at(50), 1) is None


def test_new_epoch__makes_the_old_worthless() -> None:
    samples = history((0, 100), (1, 200))
    samples.add(at(150, "b"), 2)
    assert samples.lag(at(200), 3) is None
    assert samples.lag(at(150, "b"), 3) == 0


def test_old_samples__are_dropped() -> None:
    samples = history((0, 100), (1, 200), (2, 300), size=2)
    assert len(samples) == 2
    assert samples.lag(at(100), 3) is None


@given(st.lists(st.integers(0, 9), min_size=1), st.integers(0, 99))
def test_lag__never_says_fresher_than_it_is(steps: list[int], replayed: int) -> None:
    """Whatever was written a second: what a replica lacks is no older than its lag."""
    samples, place, missing_since = History(), 0, None
    for second, step in enumerate(steps):
        place += step
        samples.add(at(place), second)
        if place > replayed and missing_since is None:
            missing_since = second
    lag = samples.lag(at(replayed), len(steps))
    if missing_since is None:
        assert lag == 0
    else:
        assert lag is None or lag >= len(steps) - missing_since


# -- one look at both servers ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "replayed", "told", "age", "lag"),
    [
        (at(100), at(100), None, 50.0, 0.0),  # an idle primary: the age means nothing
        (at(100), at(120), None, 50.0, 0.0),
        (at(100), at(99), None, 50.0, 50.0),
        (at(100), at(99), 3, 50.0, 3),  # what the server knows is better than a bound
        (at(100), at(99), None, None, None),
        (at(100), at(120, "other"), None, 50.0, 50.0),
        (None, at(100), None, 50.0, None),  # no one knows if it lacks anything
        (None, at(100), 0, None, 0),
        (at(100), None, None, 50.0, None),
        (None, None, 7, None, 7),
    ],
)
def test_lag_at_one_look(
    written: Position | None,
    replayed: Position | None,
    told: float | None,
    age: float | None,
    lag: float | None,
) -> None:
    assert at_one_look(written, replayed, told_s=told, age_s=age) == lag
