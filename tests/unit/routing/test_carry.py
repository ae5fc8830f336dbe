"""What one scope tells the next, through a cookie or the headers of a task."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import pytest

from django_poolrouter import routing
from django_poolrouter.routing import (
    Cluster,
    ClusterConfig,
    NotAsked,
    Position,
    ServerFailed,
    carry,
)
from django_poolrouter.routing.balancers import round_robin
from django_poolrouter.routing.carry import CARRIED, merge
from django_poolrouter.routing.config import ReplicaConfig
from django_poolrouter.routing.surroundings import Surroundings
from tests.support.doubles import FakeServers

NOW = 1_700_000_000.0


def wall_clock() -> float:
    return NOW


def still() -> float:
    """A monotonic clock that stands still."""
    return 100.0


#: Scopes, and what is carried between them, at one moment: every figure is exact.
Scope = partial(routing.Scope, clock=still)
pack = partial(carry.pack, wall_clock=wall_clock)
seconds_left = partial(carry.seconds_left, wall_clock=wall_clock)


def unpack(carried: Any, clusters: dict[str, Cluster]) -> routing.Scope:
    return carry.unpack(carried, clusters, Scope(), wall_clock=wall_clock)


class Transaction:
    goes_on = True


def cluster(primary: str, **config: Any) -> Cluster:
    replicas = (ReplicaConfig(f"{primary}1"),)
    return Cluster(ClusterConfig(primary, replicas, **config), round_robin)


CLUSTERS = {name: cluster(name) for name in ("default", "orders")}


def carried(scope: routing.Scope, clusters: Any = CLUSTERS) -> routing.Scope:
    """Return a scope that got what another one carried, by way of JSON."""
    return unpack(json.loads(json.dumps(pack(scope, clusters.values()))), clusters)


def test_pins__are_known_to_the_next_scope() -> None:
    scope = Scope()
    scope.pin("orders", 3)
    after = carried(carried(scope))
    assert after.pinned_for("orders", 5) == 3
    assert after.pinned_for("default", 5) == 0
    assert after.wrote == set()


def test_nothing__is_carried_by_a_scope_that_only_read() -> None:
    assert pack(Scope(), CLUSTERS.values()) == {}


def test_write_in_an_open_transaction__pins_from_now_on() -> None:
    scope = Scope()
    scope.note_write("default", 5, Transaction())
    assert carried(scope).pinned_for("default", 5) == 5


def test_seconds_left__are_those_of_the_longest_pin() -> None:
    scope = Scope()
    scope.pin("default", 1)
    scope.pin("orders", 3)
    assert seconds_left(pack(scope, CLUSTERS.values())) == 3


def test_pin__is_no_longer_than_a_write_of_now_would_pin() -> None:
    scope = Scope()
    scope.pin("default", 60)
    assert carried(scope).pinned_for("default", 5) == 5


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


# -- positions --------------------------------------------------------------------------


class Committed:
    goes_on = False


def follower(servers: FakeServers | None, **config: Any) -> Cluster:
    replicas = (ReplicaConfig("replica1"),)
    options = ClusterConfig("default", replicas, **config)
    return Cluster(options, round_robin, Surroundings(servers=servers, tells_positions=True))


def wrote(cluster: Cluster, transaction: Any = Committed) -> routing.Scope:
    scope = Scope()
    cluster.note_write(scope, transaction())
    return scope


def test_position__takes_no_pin_away_that_was_brought() -> None:
    """A task wrote that was sent in a transaction, which may go on still."""
    clusters = {"default": follower(FakeServers(default=7))}
    with_pin = Scope()
    with_pin.note_write("default", 5, Transaction())
    task = carried(with_pin, clusters)
    clusters["default"].note_write(task, Committed())
    after = carried(task, clusters)
    assert set(after.positions) == {"default"}
    assert after.pinned_for("default", 5) == 10
    own = carried(wrote(clusters["default"]), clusters)
    assert own.pinned_for("default", 5) == 0


def test_position__is_captured_once_and_travels_on() -> None:
    servers = FakeServers(default=7)
    clusters = {"default": follower(servers)}
    first = carried(wrote(clusters["default"]), clusters)
    second = carried(first, clusters)
    assert servers.asked == ["default"]
    for scope in (first, second):
        position, written_at = scope.positions["default"]
        assert position == Position("a", {"": 7})
        assert written_at == NOW
        assert scope.pinned_for("default", 5) == 0


def test_later_write__takes_the_place_of_an_earlier_position() -> None:
    servers = FakeServers(default=7)
    clusters = {"default": follower(servers)}
    scope = carried(wrote(clusters["default"]), clusters)
    servers.logs["default"] = 9
    clusters["default"].note_write(scope, Committed())
    assert carried(scope, clusters).positions["default"][0] == Position("a", {"": 9})


@pytest.mark.parametrize(
    ("log", "transaction"),
    [
        (None, Committed),
        (ServerFailed("down"), Committed),
        (NotAsked(), Committed),
        (7, Transaction),
    ],
)
def test_position__that_cannot_be_had_is_a_pin(log: Any, transaction: Any) -> None:
    clusters = {"default": follower(FakeServers(default=log))}
    after = carried(wrote(clusters["default"], transaction), clusters)
    assert after.positions == {}
    # PIN_SECONDS are 5; but a replica may be read that is MAX_LAG behind.
    assert after.pinned_for("default", 5) == 10


def test_older_position__is_kept_where_a_newer_one_cannot_be_had() -> None:
    """It may be far ahead of the replicas still when the pin has ended."""
    servers = FakeServers(default=7)
    clusters = {"default": follower(servers)}
    scope = carried(wrote(clusters["default"]), clusters)
    servers.logs["default"] = ServerFailed("down")
    clusters["default"].note_write(scope, Committed())
    first = carried(scope, clusters)
    second = carried(merged(first, clusters), clusters)
    for after in (first, second):
        assert after.positions["default"][0] == Position("a", {"": 7})
        assert after.pinned_for("default", 5) == 10


def merged(scope: routing.Scope, clusters: dict[str, Cluster]) -> routing.Scope:
    """Return what a store gives back that kept a position before."""
    before = {"default": [NOW - 60, "a/=3"]}
    return unpack(merge(before, pack(scope, clusters.values())), clusters)


def test_pin__beside_a_position_is_worth_as_much_as_alone() -> None:
    now = NOW
    old = [now - CARRIED - 1, "a/=7", now + 3]
    assert seconds_left({"default": old}) == 3
    assert seconds_left({"default": now + 3}) == 3
    after = unpack({"default": old}, {"default": follower(FakeServers(default=7))})
    assert after.positions == {}
    assert after.pinned_for("default", 5) == 3


@pytest.mark.parametrize("mode", ["position", "pin", "off"])
def test_job__that_is_sent_inside_a_transaction_is_pinned_though_nothing_was_written_yet(
    mode: Any,
) -> None:
    """What is written next, before the commit, it is to see."""
    clusters = {"default": follower(FakeServers(default=7), read_your_writes=mode)}
    sent = unpack(pack(Scope(), clusters.values(), lambda primary: True), clusters)
    assert bool(sent.pinned_for("default", 5)) is (mode != "off")
    wrote_before = wrote(clusters["default"])
    sent = unpack(pack(wrote_before, clusters.values(), lambda primary: True), clusters)
    assert sent.positions == {}


def test_position__where_positions_are_not_used_any_more_is_a_pin() -> None:
    brought = pack(scope := wrote(mine := follower(FakeServers(default=7))), [mine])
    assert scope.wrote
    after = unpack(brought, {"default": follower(None, read_your_writes="pin")})
    assert after.positions == {}
    assert after.pinned_for("default", 5) == 5


def test_seconds_left__are_many_for_a_position() -> None:
    mine = follower(FakeServers(default=7))
    assert seconds_left(pack(wrote(mine), [mine])) == CARRIED


@pytest.mark.parametrize(
    "content",
    [
        *(
            [],
            [NOW],
            [NOW, "a/=1", 1],
            [NOW, "a/=1", math.nan],
            [NOW, "a/=1", NOW, NOW],
            ["a/=1", NOW],
            [NOW, 5],
            [NOW, "a"],
            [NOW, None],
        ),
        *([NOW - CARRIED - 1, "a/=1"], [math.nan, "a/=1"], [int(NOW), "a/=1"], [True, "a/=1"]),
    ],
)
def test_position__that_is_not_ours_or_too_old_counts_for_nothing(content: Any) -> None:
    scope = unpack({"default": content}, {"default": follower(FakeServers(default=7))})
    assert scope.positions == {}


def test_position__from_the_future_is_of_now() -> None:
    clusters = {"default": follower(FakeServers(default=7))}
    scope = unpack({"default": [NOW + 999, "a/=1"]}, clusters)
    assert scope.positions["default"][1] == NOW


def test_merge__keeps_of_each_cluster_what_was_noted_last() -> None:
    older, newer = [1000.0, "a/lsn=1"], [1001.0, "a/lsn=2"]
    assert merge({"a": newer, "b": 5.0}, {"a": older, "c": older}) == {
        "a": newer,
        "b": 5.0,
        "c": older,
    }
    assert merge({"a": older}, {"a": newer}) == {"a": newer}


def test_merge__keeps_the_furthest_position_whatever_the_clocks_of_hosts_say() -> None:
    far, near = [1000.0, "a/lsn=20"], [1002.0, "a/lsn=10"]
    assert merge({"a": far}, {"a": near}) == merge({"a": near}, {"a": far}) == {"a": far}
    promoted = [1001.0, "b/lsn=5"]
    assert merge({"a": far}, {"a": promoted}) == {"a": promoted}
    assert merge({"a": far}, {"a": [1003.0, None]}) == {"a": [1003.0, None]}


def test_merge__keeps_the_last_position_and_the_longest_pin() -> None:
    """The position of one write says nothing of another that pinned."""
    older, newer = [1000.0, "a/lsn=1"], [1001.0, "a/lsn=2"]
    assert merge({"a": 1004.0}, {"a": older}) == {"a": [*older, 1004.0]}
    assert merge({"a": [*older, 1004.0]}, {"a": newer}) == {"a": [*newer, 1004.0]}
    assert merge({"a": [*newer, 1004.0]}, {"a": [*older, 1005.0]}) == {"a": [*newer, 1005.0]}
    assert merge({"a": 1004.0}, {"a": 1003.0}) == {"a": 1004.0}


@pytest.mark.parametrize(
    "content",
    [
        *(None, 5, "x", [1.0], {"a": None}, {"a": "x"}, {"a": []}, {"a": [1.0]}),
        *(
            {"a": ["x", 1.0]},
            {"a": [1.0, "x", "y"]},
            {"a": math.nan},
            {"a": [math.nan, "x"]},
            {"a": True},
        ),
    ],
)
def test_merge__leaves_out_what_is_not_ours(content: Any) -> None:
    assert merge(content, {"b": 5.0}) == {"b": 5.0}
