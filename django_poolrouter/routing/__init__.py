"""Where queries go: no Django and no driver in here."""

from .balancers import BALANCERS, Balancer, Candidate
from .cluster import Cluster, Decision, Topology
from .config import ClusterConfig, ReplicaConfig, parse_clusters
from .monitor import Monitor
from .positions import Position
from .replicas import OnLook, Replicas, State
from .scopes import Scope, current_scope, scope
from .servers import NoReplica, NotAsked, ServerFailed
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
    "Replicas",
    "Scope",
    "ServerFailed",
    "State",
    "Topology",
    "Using",
    "current_scope",
    "parse_clusters",
    "scope",
]
