"""Where queries go: no Django and no driver in here.

Every room but ``pooling``, ``sql`` and ``validation`` may import this one.
"""

from .balancers import BALANCERS, Balancer, Candidate
from .cluster import Cluster, Decision, Topology
from .config import ClusterConfig, ReplicaConfig, parse_clusters
from .logs import NoReplica, NotAsked, ServerFailed
from .monitor import Monitor
from .positions import Position
from .replica_health import OnLook, ReplicaHealth, State
from .scopes import Scope, current_scope, scope
from .using import Using

__all__ = [
    "BALANCERS",
    "Balancer",
    "Candidate",
    "Cluster",
    "ClusterConfig",
    "Decision",
    "Monitor",
    "NoReplica",
    "NotAsked",
    "OnLook",
    "Position",
    "ReplicaConfig",
    "ReplicaHealth",
    "Scope",
    "ServerFailed",
    "State",
    "Topology",
    "Using",
    "current_scope",
    "parse_clusters",
    "scope",
]
