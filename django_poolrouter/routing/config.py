"""Parses the ``ROUTER`` entries of ``settings.DATABASES`` into the configuration of clusters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import validation
from ..validation import ConfigError, Problem
from .always_primary import AlwaysPrimary, labels
from .balancers import BALANCERS

CLUSTER_CHECKS: Mapping[str, validation.Check] = {
    "ALWAYS_PRIMARY": AlwaysPrimary.parse,
    "BALANCER": validation.one_of(*BALANCERS, dotted=True),
    "READ_YOUR_WRITES": validation.one_of("position", "pin", "off"),
    "PIN_SECONDS": validation.seconds(),
    "MAX_LAG": validation.seconds(optional=True, above_zero=True),
    "FALLBACK": validation.one_of("primary", "error", "lagging"),
    "UNSAFE_METHODS": validation.one_of("primary", "replica"),
}
DEFAULTS = "POOLROUTER['ROUTING']"
STORE: Mapping[str, validation.Check] = {"STORE": validation.one_of("cookie", "cache", dotted=True)}
REPLICA_CHECKS: Mapping[str, validation.Check] = {
    "WEIGHT": validation.integer(1),
    "READ_ONLY": validation.boolean,
}


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """One replica of a cluster."""

    alias: str
    weight: int = 1
    read_only: bool = True
    """Whether its sessions refuse writes."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """A primary, its replicas, the models it owns and how its reads are routed."""

    primary: str
    replicas: tuple[ReplicaConfig, ...] = ()
    apps: frozenset[str] = frozenset()
    """App labels whose models it owns."""
    models: frozenset[str] = frozenset()
    """Single models it owns, as "app_label.model_name" in lower case."""
    balancer: str | Callable[..., Any] = "round_robin"
    balancer_place: str = f"{DEFAULTS}['BALANCER']"
    """Where the settings name it, for messages."""
    read_your_writes: str = "position"
    pin_seconds: float = 5.0
    max_lag: float | None = 10.0
    fallback: str = "primary"
    unsafe_methods: str = "primary"
    always_primary: AlwaysPrimary = field(default_factory=AlwaysPrimary)
    """What the project adds to the models that are never read from a replica, or removes."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """The primary and the replicas."""
        return self.primary, *(replica.alias for replica in self.replicas)


def parse_clusters(
    entries: Mapping[str, Any], defaults: Mapping[str, Any], default: str = "default"
) -> tuple[ClusterConfig, ...]:
    """Return the clusters that the ``ROUTER`` entries describe.

    Args:
        entries: the ROUTER entry of each alias; empty if it has none.
        defaults: ``POOLROUTER["ROUTING"]``, the cluster options for all clusters.
        default: the alias that owns the models that no other cluster names.

    Raises:
        ConfigError: with one problem for each mistake.

    """
    problems: list[Problem] = []
    defaults = _mapping(DEFAULTS, defaults, '{"PIN_SECONDS": 5}', problems)
    common = validation.check_all(DEFAULTS, defaults, {**CLUSTER_CHECKS, **STORE}, problems)
    common.pop("STORE", None)  # not an option of clusters
    entries = {
        alias: _mapping(_where(alias), entry, '{"REPLICA_OF": "default"}', problems)
        for alias, entry in entries.items()
    }
    parsed = _Entries(entries, problems)
    named = {alias for alias, entry in entries.items() if entry} | set(parsed.parents.values())
    primaries = (named | {default}) - parsed.parents.keys()
    clusters = tuple(parsed.cluster(alias, common) for alias in entries if alias in primaries)
    _check_owners(clusters, problems)
    if problems:
        raise ConfigError(*problems)
    return clusters


class _Entries:
    """The ROUTER entries, while they are parsed."""

    def __init__(self, entries: Mapping[str, Mapping[str, Any]], problems: list[Problem]) -> None:
        self.entries = entries
        self.problems = problems
        self.parents: dict[str, str] = {}
        for alias, entry in entries.items():
            if "REPLICA_OF" in entry:
                self._check_parent(alias, entry["REPLICA_OF"])

    def cluster(self, alias: str, common: Mapping[str, Any]) -> ClusterConfig:
        entry = dict(self.entries[alias])
        where = _where(alias)
        for name in REPLICA_CHECKS:
            if entry.pop(name, None) is not None:
                text = "belongs to a replica's entry."
                self._add(f"{where}[{name!r}]", text, "Write it beside REPLICA_OF.")
        owned = {"APPS": entry.pop("APPS", ())}
        owned = validation.check_all(where, owned, {"APPS": labels}, self.problems)
        mine = owned.get("APPS", frozenset())
        chosen = validation.check_all(
            where, entry, CLUSTER_CHECKS, self.problems, also_known=("APPS", "REPLICA_OF")
        )
        if "BALANCER" in chosen:
            chosen["BALANCER_PLACE"] = f"{where}['BALANCER']"
        return ClusterConfig(
            primary=alias,
            replicas=tuple(
                self._replica(name) for name, parent in self.parents.items() if parent == alias
            ),
            apps=frozenset(label for label in mine if "." not in label),
            models=frozenset(label for label in mine if "." in label),
            **{name.lower(): value for name, value in {**common, **chosen}.items()},
        )

    def _check_parent(self, alias: str, parent: Any) -> None:
        where = f"{_where(alias)}['REPLICA_OF']"
        # A list, for example, is not hashable and could not be looked up.
        self.parents[alias] = parent if isinstance(parent, str) else ""
        if self.parents[alias] not in self.entries:
            hint = validation.did_you_mean(parent, self.entries)
            self._add(where, f"there is no database {validation.shorten(parent)}.", hint)
        elif parent == alias:
            self._add(where, "a database cannot be a replica of itself.", "Name its primary.")
        elif "REPLICA_OF" in self.entries[parent]:
            hint = f"Name the primary itself, {self.entries[parent]['REPLICA_OF']!r}."
            self._add(where, f"{parent!r} is a replica too.", hint)

    def _replica(self, alias: str) -> ReplicaConfig:
        entry = {name: value for name, value in self.entries[alias].items() if name != "REPLICA_OF"}
        misplaced = [name for name in entry if name in CLUSTER_CHECKS or name == "APPS"]
        for name in misplaced:
            hint = f"Write it on {self.parents[alias]!r}."
            self._add(f"{_where(alias)}[{name!r}]", "belongs to the primary's entry.", hint)
            del entry[name]
        chosen = validation.check_all(_where(alias), entry, REPLICA_CHECKS, self.problems)
        return ReplicaConfig(alias, **{name.lower(): value for name, value in chosen.items()})

    def _add(self, where: str, text: str, hint: str) -> None:
        self.problems.append(Problem(where, text, hint))


def _check_owners(clusters: tuple[ClusterConfig, ...], problems: list[Problem]) -> None:
    owners: dict[str, str] = {}
    for cluster in clusters:
        for label in sorted(cluster.apps | cluster.models):
            other = owners.setdefault(label, cluster.primary)
            if other != cluster.primary:
                where = f"{_where(cluster.primary)}['APPS']"
                text = f"{label!r} belongs to {other!r} already."
                problems.append(Problem(where, text, "A model lives in one cluster."))


def _mapping(where: str, value: Any, example: str, problems: list[Problem]) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    text = f"must be a mapping, not {validation.shorten(value)}."
    problems.append(Problem(where, text, f"For example {example}."))
    return {}


def _where(alias: str) -> str:
    return f"DATABASES[{alias!r}]['ROUTER']"
