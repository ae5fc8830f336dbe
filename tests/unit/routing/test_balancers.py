"""Which replica is next: each balancer as a table."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from django_poolrouter.routing import BALANCERS
from django_poolrouter.routing.balancers import Candidate


def chosen(name: str, candidates: list[Candidate], turns: int, start: int = 0) -> str:
    return "".join(BALANCERS[name](candidates, turn).alias for turn in range(start, start + turns))


def replicas(*weights: int) -> list[Candidate]:
    return [Candidate(alias, weight) for alias, weight in zip("abcdef", weights, strict=False)]


def test_names__are_those_of_the_contract() -> None:
    assert set(BALANCERS) == {"round_robin", "random", "weighted", "least_used"}


@pytest.mark.parametrize(("count", "turns"), [(1, "aaaaaa"), (2, "ababab"), (3, "abcabc")])
def test_round_robin__takes_each_in_turn(count: int, turns: str) -> None:
    assert chosen("round_robin", replicas(*[1] * count), 6) == turns


def test_round_robin__knows_no_weights() -> None:
    assert chosen("round_robin", replicas(5, 1), 4) == "abab"


def test_random__takes_any_with_equal_chances() -> None:
    counts = Counter(chosen("random", replicas(1, 1, 1), 3000))
    # Seven standard deviations: less often wrong than the machine.
    assert all(abs(counts[alias] - 1000) < 180 for alias in "abc")


@pytest.mark.parametrize(
    ("weights", "turns"),
    [
        ((1,), "aaa"),
        ((7,), "aaa"),
        ((1, 1), "abab"),
        ((3, 3), "abab"),
        ((2, 1), "abaaba"),
        ((1, 2), "babbab"),
        ((1, 1, 1), "abcabc"),
        ((3, 1), "aabaaaba"),
        ((3, 2, 1), "abacba"),
    ],
)
def test_weighted__takes_each_as_often_as_its_weight(weights: tuple[int, ...], turns: str) -> None:
    assert chosen("weighted", replicas(*weights), len(turns)) == turns


@pytest.mark.parametrize(
    "weights", [(1,), (2, 1), (2, 2), (3, 2, 1), (5, 1, 1), (4, 3, 2, 1), (1, 9), (100, 99), (6, 4)]
)
@pytest.mark.parametrize("start", [0, 1, 17, 1_000_003])
def test_weighted__gives_exact_shares_in_each_cycle(weights: tuple[int, ...], start: int) -> None:
    counts = Counter(chosen("weighted", replicas(*weights), sum(weights), start))
    assert counts == dict(zip("abcdef", weights, strict=False))


@pytest.mark.parametrize(
    "weights", [(1, 1), (2, 2), (3, 3), (2, 1, 1), (2, 2, 2), (3, 2, 1), (4, 3, 2, 1), (2, 2, 1, 1)]
)
def test_weighted__is_interleaved(weights: tuple[int, ...]) -> None:
    turns = chosen("weighted", replicas(*weights), 3 * sum(weights))
    # None of these weights is more than half, so nobody needs three turns in a row, and
    # two meet only where one cycle ends and the next begins.
    assert all(len({*three}) > 1 for three in zip(turns, turns[1:], turns[2:], strict=False))
    within = turns[: sum(weights)]
    assert all(one != other for one, other in pairwise(within))


def test_weighted__spreads_the_rare_one_evenly() -> None:
    turns = chosen("weighted", replicas(5, 1), 60)
    places = [place for place, alias in enumerate(turns) if alias == "b"]
    assert {after - before for before, after in pairwise(places)} == {6}


@pytest.mark.parametrize(
    ("loads", "turns"),
    [
        ((0, 0), "abab"),
        ((1, 0), "bbbb"),
        ((0, 1), "aaaa"),
        ((2, 1, 1), "bcbc"),
        ((3, 3, 3), "abca"),
        ((5, 4, 3), "cccc"),
    ],
)
def test_least_used__takes_the_least_loaded_and_turns_among_equals(
    loads: tuple[int, ...], turns: str
) -> None:
    candidates = [
        Candidate(alias, in_use=lambda load=load: load)
        for alias, load in zip("abc", loads, strict=False)
    ]
    assert chosen("least_used", candidates, 4) == turns


def test_least_used__asks_anew_at_each_turn() -> None:
    loads = {"a": 0, "b": 0}
    candidates = [Candidate(alias, in_use=lambda alias=alias: loads[alias]) for alias in loads]
    for turn in range(10):
        loads[BALANCERS["least_used"](candidates, turn).alias] += 1
    assert loads == {"a": 5, "b": 5}


@pytest.mark.parametrize("name", sorted(BALANCERS))
def test_every_balancer__chooses_the_only_one(name: str) -> None:
    assert chosen(name, replicas(3), 3) == "aaa"
