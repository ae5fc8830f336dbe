"""What one scope tells the next, through a cookie or the headers of a task."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from django_poolrouter.routing import Cluster, ClusterConfig, ReplicaConfig, Scope
from django_poolrouter.routing.balancers import round_robin
from django_poolrouter.routing.carry import pack, seconds_left, unpack


class Transaction:
    in_atomic_block = True


def cluster(primary: str, **config: Any) -> Cluster:
    replicas = (ReplicaConfig(f"{primary}1"),)
    return Cluster(ClusterConfig(primary, replicas, **config), round_robin, lambda alias: 0)


CLUSTERS = {name: cluster(name) for name in ("default", "orders")}


def carried(scope: Scope, clusters: Any = CLUSTERS) -> Scope:
    """Return a scope that got what another one carried, by way of JSON."""
    return unpack(json.loads(json.dumps(pack(scope, clusters.values()))), clusters)


def test_pins__are_known_to_the_next_scope() -> None:
    scope = Scope()
    scope.pin("orders", 3)
    after = carried(carried(scope))
    assert 2 < after.pinned_for("orders", 5) <= 3
    assert after.pinned_for("default", 5) == 0
    assert after.wrote == set()


def test_nothing__is_carried_by_a_scope_that_only_read() -> None:
    assert pack(Scope(), CLUSTERS.values()) == {}


def test_write_in_an_open_transaction__pins_from_now_on() -> None:
    scope = Scope()
    scope.note_write("default", 5, Transaction())
    assert 4 < carried(scope).pinned_for("default", 5) <= 5


def test_seconds_left__are_those_of_the_longest_pin() -> None:
    scope = Scope()
    scope.pin("default", 1)
    scope.pin("orders", 3)
    assert 2 < seconds_left(pack(scope, CLUSTERS.values())) <= 3


def test_pin__is_no_longer_than_a_write_of_now_would_pin() -> None:
    scope = Scope()
    scope.pin("default", 60)
    assert carried(scope).pinned_for("default", 5) <= 5


def test_pin__of_a_cluster_that_is_gone_or_pins_no_more_is_dropped() -> None:
    scope = Scope()
    scope.pin("default", 3)
    scope.pin("orders", 3)
    brought = pack(scope, CLUSTERS.values())
    now = {"default": cluster("default", read_your_writes="off")}
    after = unpack(brought, now)
    assert (after.pinned_for("default", 5), after.pinned_for("orders", 5)) == (0, 0)


@pytest.mark.parametrize(
    "content",
    [
        *(None, True, 5, "default", [], [["default", 1]], {}, {"default": True}),
        *({"default": value} for value in (None, "soon", [], {}, math.nan, -math.inf, -1)),
    ],
    ids=repr,
)
def test_content__that_is_not_ours_counts_for_nothing(content: Any) -> None:
    assert unpack(content, CLUSTERS).pinned_for("default", 5) == 0
