"""Where queries go: no Django and no driver in here."""

from .balancers import BALANCERS, Balancer, Candidate
from .cluster import Cluster, Decision, Topology
from .config import ClusterConfig, ReplicaConfig, parse_clusters
from .scopes import Scope, current_scope, scope
from .using import Using

__all__ = [
    "BALANCERS",
    "Balancer",
    "Candidate",
    "Cluster",
    "ClusterConfig",
    "Decision",
    "ReplicaConfig",
    "Scope",
    "Topology",
    "Using",
    "current_scope",
    "parse_clusters",
    "scope",
]
