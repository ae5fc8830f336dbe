"""What role an alias has."""

from __future__ import annotations

import pytest

from django_poolrouter.routing import Cluster, Role, Topology, parse_clusters
from django_poolrouter.routing.balancers import round_robin

ENTRIES = {
    "default": {},
    "replica1": {"REPLICA_OF": "default"},
    "orders": {"APPS": ["orders"]},
    "legacy": {},
}


def topology() -> Topology:
    configs = parse_clusters(ENTRIES, {})
    return Topology(Cluster(config, round_robin) for config in configs)


@pytest.mark.parametrize(
    ("alias", "role"),
    [
        ("default", "primary"),
        ("orders", "primary"),
        ("replica1", "replica"),
        ("legacy", "standalone"),
        ("nowhere", "standalone"),
    ],
)
def test_role__is_what_the_settings_say(alias: str, role: Role) -> None:
    assert topology().role(alias) == role


def test_cluster_of_replica__is_none_for_all_others() -> None:
    made = topology()
    assert made.cluster_of_replica("replica1") is made.clusters["default"]
    for alias in ("default", "orders", "legacy", "nowhere"):
        assert made.cluster_of_replica(alias) is None
