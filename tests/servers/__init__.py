"""Real database servers with replication, thrown away after use.

Used by the tests (`fixtures`) and by the example's demo:

    with PostgresqlCluster(replicas=2) as cluster:
        cluster.create_database("shop")
        DATABASES = {
            "default": {"ENGINE": ..., **cluster.settings("primary", name="shop")},
            "replica1": {"ENGINE": ..., **cluster.settings("replica1", name="shop")},
        }
"""

from tests.servers.cluster import Cluster, ServersMissing
from tests.servers.mariadb import MariadbCluster
from tests.servers.postgresql import PostgresqlCluster
from tests.servers.proxy import FaultProxy

__all__ = ["Cluster", "FaultProxy", "MariadbCluster", "PostgresqlCluster", "ServersMissing"]
