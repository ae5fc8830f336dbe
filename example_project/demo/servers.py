"""The demo's databases: clusters of real servers, or files of SQLite in a temporary folder."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from tests.servers import Cluster, MariadbCluster, PostgresqlCluster
from tests.servers.cluster import PRIMARY

CLUSTERS = {"postgresql": PostgresqlCluster, "mysql": MariadbCluster}
KINDS = [*CLUSTERS, "sqlite"]
# alias -> node, for each database
NODES = {
    "shop": {"default": PRIMARY, "replica1": "replica1", "replica2": "replica2"},
    "orders": {"orders": PRIMARY, "orders_replica1": "replica1"},
}


@dataclass(frozen=True)
class Databases:
    """What the settings of the example need in the environment, and the clusters behind it."""

    environment: dict[str, str]
    clusters: tuple[Cluster, ...] = ()

    def wait_for_replicas(self) -> None:
        for cluster in self.clusters:
            cluster.wait_for_replicas()


@contextmanager
def running(kind: str) -> Iterator[Databases]:
    """Start the databases of that kind; they are gone at the end, with all that they held."""
    with ExitStack() as stack:
        if kind == "sqlite":
            folder = stack.enter_context(TemporaryDirectory(prefix="shop-"))
            yield Databases({"DB": kind, "DB_DIR": folder})
        else:
            shop = stack.enter_context(CLUSTERS[kind](replicas=2))
            orders = stack.enter_context(CLUSTERS[kind](replicas=1))
            environment = {
                "DB": kind,
                **create(shop, "shop", NODES["shop"]),
                **create(orders, "orders", NODES["orders"]),
            }
            yield Databases(environment, (shop, orders))


def create(cluster: Cluster, database: str, nodes: dict[str, str]) -> dict[str, str]:
    """Create the database; return what the settings of its aliases need in the environment."""
    cluster.create_database(database)
    return {
        f"DB_{alias.upper()}_{key}": value
        for alias, node in nodes.items()
        for key, value in cluster.settings(node, name=database).items()
    }
