"""Who owns a model, and which alias a read goes to, and why."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from django_poolrouter.routing import BALANCERS, Cluster, Scope, Topology, Using, parse_clusters
from django_poolrouter.routing.surroundings import Surroundings

ENTRIES = {
    "default": {},
    "replica1": {"REPLICA_OF": "default"},
    "replica2": {"REPLICA_OF": "default"},
    "orders": {"APPS": ["orders", "billing.Invoice"]},
    "orders1": {"REPLICA_OF": "orders"},
    "legacy": {},
}


class Connection:
    goes_on = False


def topology(
    entries: dict[str, Any] = ENTRIES,
    in_use: Callable[[str], int] = lambda alias: 0,
    **options: Any,
) -> Topology:
    configs = parse_clusters(entries, options)
    return Topology(
        Cluster(c, BALANCERS[str(c.balancer)], Surroundings(in_use=in_use)) for c in configs
    )


def cluster(entries: dict[str, Any] = ENTRIES, **options: Any) -> Cluster:
    return topology(entries, **options).clusters["default"]


def never(alias: str) -> bool:
    return False


def read(cluster: Cluster, scope: Scope) -> str:
    """Ask as Django does for ``iterator()``: twice, and then query."""
    first = cluster.decide_read(scope, never)
    assert cluster.decide_read(scope, never) == first
    scope.note_read(cluster.primary)
    return first.alias


# -- who owns what ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "model", "owner"),
    [
        ("orders", "order", "orders"),
        ("orders", "Order", "orders"),
        ("billing", "invoice", "orders"),
        ("billing", "Invoice", "orders"),
        ("billing", "tariff", "default"),
        ("shop", "book", "default"),
        ("auth", "user", "default"),
        ("ORDERS", "order", "default"),  # labels of apps have one spelling
    ],
)
def test_owner__is_found_by_model_then_by_app_then_default(
    app: str, model: str, owner: str
) -> None:
    found = topology().owner(app, model)
    assert found is not None
    assert found.primary == owner


@pytest.mark.parametrize(
    ("app", "owners"),
    [("orders", {"orders"}), ("billing", {"orders", "default"}), ("shop", {"default"})],
)
def test_owners__are_all_that_own_a_model_of_the_app(app: str, owners: set[str]) -> None:
    assert topology().owners(app) == owners


def test_owners__tells_apps_apart_whose_names_begin_alike() -> None:
    entries = {"default": {}, "b": {"APPS": ["billing.Invoice"]}}
    assert topology(entries).owners("bill") == {"default"}


def test_single_model__wins_over_its_app() -> None:
    entries = {"default": {}, "a": {"APPS": ["billing"]}, "b": {"APPS": ["billing.Invoice"]}}
    found = topology(entries)
    assert found.owner("billing", "invoice") is found.clusters["b"]
    assert found.owner("billing", "tariff") is found.clusters["a"]
    assert found.owners("billing") == {"a", "b"}


def test_nobody__owns_the_rest_without_default() -> None:
    found = topology({"orders": {"APPS": ["orders", "billing.Invoice"]}})
    assert found.owner("shop", "book") is None
    assert found.owners("shop") == set()
    assert found.owners("billing") == {"orders"}
    assert found.owner("orders", "line") is found.clusters["orders"]


def test_aliases__of_no_cluster_are_unknown() -> None:
    found = topology()
    assert set(found.clusters) == {"default", "orders"}
    assert set(found.by_alias) == {"default", "replica1", "replica2", "orders", "orders1"}
    assert found.by_alias["replica2"] is found.clusters["default"]


def test_cluster__shows_what_it_is() -> None:
    assert repr(cluster()) == "<Cluster 'default' replicas=['replica1', 'replica2']>"


# -- where reads go ---------------------------------------------------------------------


def test_reads__take_turns_outside_a_sticky_scope() -> None:
    mine, scope = cluster(), Scope(sticky=False)
    assert [read(mine, scope) for _ in range(4)] == ["replica1", "replica2"] * 2


def test_reads__stay_on_one_replica_in_a_sticky_scope() -> None:
    mine = cluster()
    scopes = [Scope() for _ in range(4)]
    seen = [[read(mine, scope) for _ in range(3)] for scope in scopes]
    assert seen == [["replica1"] * 3, ["replica2"] * 3] * 2


def test_question_without_query__takes_no_turn() -> None:
    mine, scope = cluster(), Scope(sticky=False)
    assert {mine.decide_read(scope, never).alias for _ in range(9)} == {"replica1"}
    scope.note_read("default")
    assert mine.decide_read(scope, never).alias == "replica2"


def test_clusters__take_turns_apart() -> None:
    found, scope = topology(), Scope(sticky=False)
    seen = [read(found.clusters[name], scope) for name in ["default", "orders"] * 2]
    assert seen == ["replica1", "orders1", "replica2", "orders1"]


def test_threads__get_equal_shares() -> None:
    mine, start = cluster(), threading.Barrier(8)

    def work() -> Counter[str]:
        scope = Scope(sticky=False)
        start.wait()
        return Counter(read(mine, scope) for _ in range(250))

    with ThreadPoolExecutor(8) as executor:
        counts = sum((f.result() for f in [executor.submit(work) for _ in range(8)]), Counter())
    assert counts == {"replica1": 1000, "replica2": 1000}


def test_weights__count_over_scopes() -> None:
    entries = {
        "default": {"BALANCER": "weighted"},
        "replica1": {"REPLICA_OF": "default", "WEIGHT": 3},
        "replica2": {"REPLICA_OF": "default"},
    }
    mine = cluster(entries)
    assert Counter(read(mine, Scope()) for _ in range(40)) == {"replica1": 30, "replica2": 10}


def test_least_used__asks_for_the_connections_of_each_alias() -> None:
    loads = {"replica1": 1, "replica2": 0}
    found = topology(in_use=loads.__getitem__, BALANCER="least_used")
    assert read(found.clusters["default"], Scope()) == "replica2"
    loads["replica2"] = 2
    assert read(found.clusters["default"], Scope()) == "replica1"


@pytest.mark.parametrize(
    ("wrote", "in_transaction", "wish", "alias", "reason"),
    [
        (False, False, None, "replica1", "balanced over the replicas"),
        (True, False, None, "default", "pinned after a write"),
        (False, True, None, "default", "inside a transaction of the cluster"),
        (True, True, None, "default", "inside a transaction of the cluster"),
        (False, False, "primary", "default", "using_primary"),
        (False, True, "primary", "default", "using_primary"),
        (False, False, "replica", "replica1", "using_replica"),
        (True, False, "replica", "replica1", "using_replica"),
        (True, True, "replica", "replica1", "using_replica"),
    ],
)
def test_decision__is_explained(
    wrote: bool, in_transaction: bool, wish: Any, alias: str, reason: str
) -> None:
    mine, scope = cluster(), Scope()
    if wrote:
        mine.note_write(scope, Connection())
    with Using(wish or "primary", "default" if wish else "elsewhere"):
        decision = mine.decide_read(scope, lambda alias: in_transaction)
    assert (decision.alias, decision.reason) == (alias, reason)


def test_transaction__is_asked_of_the_primary_only() -> None:
    asked: list[str] = []
    cluster().decide_read(Scope(), lambda alias: bool(asked.append(alias)))
    assert asked == ["default"]


def test_pin__ends() -> None:
    now = [0.0]
    mine, scope = cluster(PIN_SECONDS=2), Scope(clock=lambda: now[0])
    mine.note_write(scope, Connection())
    assert read(mine, scope) == "default"
    now[0] = 1.9
    assert read(mine, scope) == "default"
    now[0] = 2.0
    assert read(mine, scope) == "replica1"


@pytest.mark.parametrize("mode", ["position", "pin"])
def test_read_your_writes__pins_in_both_modes(mode: str) -> None:
    mine, scope = cluster(READ_YOUR_WRITES=mode), Scope()
    mine.note_write(scope, Connection())
    assert mine.pin_seconds == 5
    assert read(mine, scope) == "default"


@pytest.mark.parametrize("options", [{"READ_YOUR_WRITES": "off"}, {"PIN_SECONDS": 0}])
def test_read_your_writes__can_be_off(options: dict[str, Any]) -> None:
    mine, scope = cluster(**options), Scope()
    mine.note_write(scope, Connection())
    assert scope.wrote == set()
    assert read(mine, scope) == "replica1"


def test_cluster_without_replicas__reads_and_writes_on_its_primary() -> None:
    mine, scope = cluster({"default": {}}), Scope()
    mine.note_write(scope, Connection())
    assert scope.wrote == set()
    assert mine.take_turn() == "default"
    with Using("replica", None):
        assert mine.decide_read(scope, never).alias == "default"
    assert mine.decide_read(scope, never).reason == "the cluster has no replicas"


def test_own_balancer__gets_candidates_and_a_growing_turn() -> None:
    calls: list[Any] = []

    def last(candidates: Any, turn: int) -> Any:
        calls.append(([c.alias for c in candidates], turn))
        return candidates[-1]

    [config, _] = parse_clusters(ENTRIES, {"BALANCER": last})
    mine = Cluster(config, last)
    assert [read(mine, Scope()) for _ in range(2)] == ["replica2"] * 2
    assert calls == [(["replica1", "replica2"], 0), (["replica1", "replica2"], 1)]
