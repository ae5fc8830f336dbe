"""All clusters of a project: which one owns a model, and which role an alias has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from .cluster import Cluster
from .decision import Decision

Role = Literal["primary", "replica", "standalone"]


class Topology:
    """All clusters of a project, to be found by alias, by app or by model."""

    def __init__(self, clusters: Iterable[Cluster], default: str = "default") -> None:
        self.clusters = {cluster.primary: cluster for cluster in clusters}
        self.by_alias = {
            alias: cluster for cluster in self.clusters.values() for alias in cluster.aliases
        }
        self.homes: dict[type, tuple[Cluster | None, Decision | None]] = {}
        """The owner of each model, and the decision for one that is never read from a replica.

        The router keeps its answers here, because it needs one for each query.
        """
        self._default = self.clusters.get(default)
        self._apps = {app: c for c in self.clusters.values() for app in c.config.apps}
        self._models = {model: c for c in self.clusters.values() for model in c.config.models}

    def role(self, alias: str) -> Role:
        """Return the role that the settings give to an alias."""
        cluster = self.by_alias.get(alias)
        if cluster is None:
            return "standalone"
        return "primary" if alias == cluster.primary else "replica"

    def cluster_of_replica(self, alias: str) -> Cluster | None:
        """Return the cluster that an alias is a replica of; None if it is not a replica."""
        cluster = self.by_alias.get(alias)
        return None if cluster is None or alias == cluster.primary else cluster

    def owner(self, app_label: str, model_name: str) -> Cluster | None:
        """Return the cluster that owns a model; upper and lower case in its name are the same."""
        by_model = self._models.get(f"{app_label}.{model_name}".lower()) if self._models else None
        return by_model or self._apps.get(app_label, self._default)

    def owners(self, app_label: str) -> set[str]:
        """Return the primaries that own at least one model of an app."""
        prefix = f"{app_label.lower()}."
        owners = {c.primary for model, c in self._models.items() if model.startswith(prefix)}
        whole = self._apps.get(app_label, self._default)
        return owners | {whole.primary} if whole else owners
