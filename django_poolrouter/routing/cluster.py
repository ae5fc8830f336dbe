"""Clusters at work: who owns a model, and which alias a read goes to, and why."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .balancers import Balancer, Candidate
from .config import ClusterConfig
from .scopes import Scope, Transaction
from .using import wish


@dataclass(frozen=True, slots=True)
class Decision:
    """Which alias a query goes to, and why."""

    alias: str
    reason: str


class Cluster:
    """A primary and its replicas.

    Args:
        config: from the settings.
        balancer: chooses among the replicas.
        in_use: tells how many connections of an alias are leased, for ``least_used``.

    """

    def __init__(
        self, config: ClusterConfig, balancer: Balancer, in_use: Callable[[str], int]
    ) -> None:
        self.config = config
        self.primary = config.primary
        self.replicas = tuple(replica.alias for replica in config.replicas)
        self.aliases = frozenset((self.primary, *self.replicas))
        # How long a write keeps reads on the primary; while positions are not built,
        # "position" pins too.
        pins = config.read_your_writes != "off" and self.replicas
        self.pin_seconds = config.pin_seconds if pins else 0.0
        self._balancer = balancer
        self._turns = itertools.count()
        self._candidates = tuple(
            Candidate(replica.alias, replica.weight, _asker(in_use, replica.alias))
            for replica in config.replicas
        )

    def __repr__(self) -> str:
        return f"<Cluster {self.primary!r} replicas={list(self.replicas)}>"

    def decide_read(self, scope: Scope, in_transaction: Callable[[str], bool]) -> Decision:
        """Return where a read goes; asking again before a query ran gives the same answer.

        Args:
            scope: what the caller did before.
            in_transaction: tells whether the primary's connection is in a transaction.

        """
        wanted = wish(self.primary)
        if wanted == "primary":
            return Decision(self.primary, "using_primary")
        if not self.replicas:
            return Decision(self.primary, "the cluster has no replicas")
        if wanted == "replica":
            return Decision(self.next_replica(scope), "using_replica")
        if in_transaction(self.primary):
            return Decision(self.primary, "inside a transaction of the cluster")
        if self.pin_seconds and scope.pinned_for(self.primary, self.pin_seconds):
            return Decision(self.primary, "pinned after a write")
        return Decision(self.next_replica(scope), "balanced over the replicas")

    def next_replica(self, scope: Scope) -> str:
        """Return the replica whose turn it is in this scope."""
        return scope.choice(self.primary) or scope.choose(self.primary, self.take_turn())

    def take_turn(self) -> str:
        """Return the next replica, whatever the scope; the primary if there is none."""
        if not self._candidates:
            return self.primary
        return self._balancer(self._candidates, next(self._turns)).alias

    def note_write(self, scope: Scope, transaction: Transaction) -> None:
        """A statement that may have written ran on the primary."""
        if self.pin_seconds:
            scope.note_write(self.primary, self.pin_seconds, transaction)


class Topology:
    """All clusters: finds the one of an alias, an app or a model."""

    def __init__(self, clusters: Iterable[Cluster], default: str = "default") -> None:
        self.clusters = {cluster.primary: cluster for cluster in clusters}
        self.by_alias = {
            alias: cluster for cluster in self.clusters.values() for alias in cluster.aliases
        }
        self._rest = self.clusters.get(default)
        self._apps = {app: c for c in self.clusters.values() for app in c.config.apps}
        self._models = {model: c for c in self.clusters.values() for model in c.config.models}

    def owner(self, app_label: str, model_name: str) -> Cluster | None:
        """Return the cluster that a model lives in; names of models in any case."""
        by_model = self._models.get(f"{app_label}.{model_name}".lower()) if self._models else None
        return by_model or self._apps.get(app_label, self._rest)

    def owners(self, app_label: str) -> set[str]:
        """Return the primaries that own at least one model of an app."""
        prefix = f"{app_label.lower()}."
        owners = {c.primary for model, c in self._models.items() if model.startswith(prefix)}
        whole = self._apps.get(app_label, self._rest)
        return owners | {whole.primary} if whole else owners


def _asker(in_use: Callable[[str], int], alias: str) -> Callable[[], int]:
    return lambda: in_use(alias)
