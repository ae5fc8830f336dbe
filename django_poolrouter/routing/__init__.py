"""Decides where queries go, without Django and without a driver.

Every room except ``pooling``, ``sql`` and ``validation`` may import this one.
"""

from .balancers import BALANCERS
from .cluster import Cluster
from .config import ClusterConfig, parse_clusters
from .decision import Chosen, Decision
from .logs import NoReplica, NotAsked, ServerFailed
from .monitor import Monitor
from .positions import Position
from .replica_health import ReplicaHealth
from .scopes import Scope, carry_scope, current_scope, scope
from .surroundings import OnLook, State, Surroundings
from .topology import Role, Topology
from .using import Using

__all__ = [
    "BALANCERS",
    "Chosen",
    "Cluster",
    "ClusterConfig",
    "Decision",
    "Monitor",
    "NoReplica",
    "NotAsked",
    "OnLook",
    "Position",
    "ReplicaHealth",
    "Role",
    "Scope",
    "ServerFailed",
    "State",
    "Surroundings",
    "Topology",
    "Using",
    "carry_scope",
    "current_scope",
    "parse_clusters",
    "scope",
]
