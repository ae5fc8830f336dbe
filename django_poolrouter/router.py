"""Django's database router, and the blocks that overrule it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from django.db.models import Model

from .errors import ReplicaUnavailable
from .registry import registry
from .routing import Cluster, Decision, NoReplica, Topology, Using, current_scope
from .routing.using import Role
from .statements import in_transaction_on

P = ParamSpec("P")
T = TypeVar("T")


class PoolRouter:
    """Sends writes to the primary of a model's cluster and reads to its replicas.

    It decides from what this process knows, and never connects or queries.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """Return the alias to read from; None for a model or object of no cluster."""
        cluster = _cluster_for(model, hints)
        if cluster is None:
            return None
        try:
            return cluster.decide_read(current_scope(), in_transaction_on).alias
        except NoReplica as error:
            raise ReplicaUnavailable(str(error)) from None

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        """Return the primary of the model's cluster; None for one of no cluster."""
        cluster = _cluster_for(model, hints)
        return cluster.primary if cluster else None

    def allow_relation(self, obj1: Model, obj2: Model, **hints: Any) -> bool | None:
        """Allow relations within a cluster, forbid them between two."""
        topology = registry.topology
        one, other = _cluster_of(obj1, topology), _cluster_of(obj2, topology)
        if one is None or other is None:
            return None
        return one is other

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        """Allow migrations on primaries that own the model, or something of the app."""
        topology = registry.topology
        cluster = topology.by_alias.get(db)
        if cluster is None:
            return None
        if db != cluster.primary:
            return False
        if model_name is None:
            return db in topology.owners(app_label)
        model = hints.get("model")
        if isinstance(model, type):
            return _owner(model, topology) is cluster
        return topology.owner(app_label, model_name) is cluster

    def explain_read(self, model: type[Model], **hints: Any) -> Decision | None:
        """Return where a read would go and why; None for a model of no cluster.

        Raises:
            NoReplica: none may be read, and FALLBACK is "error".

        """
        cluster = _cluster_for(model, hints)
        return cluster.decide_read(current_scope(), in_transaction_on) if cluster else None


@overload
def using_primary(using: Callable[P, T]) -> Callable[P, T]: ...
@overload
def using_primary(using: str | None = None) -> Using: ...
def using_primary(using: Any = None) -> Any:
    """Send reads to the primary: of one cluster, named by its primary's alias, or of all.

    A context manager and a decorator, for sync and async code, bare or called.
    """
    return _using("primary", using)


@overload
def using_replica(using: Callable[P, T]) -> Callable[P, T]: ...
@overload
def using_replica(using: str | None = None) -> Using: ...
def using_replica(using: Any = None) -> Any:
    """Send reads to a replica, even after a write and inside a transaction.

    A context manager and a decorator, for sync and async code, bare or called.
    """
    return _using("replica", using)


def _using(role: Role, using: Any) -> Any:
    if callable(using):
        return Using(role, None)(using)
    return Using(role, using, _check_primary)


def _check_primary(alias: str) -> None:
    primaries = registry.topology.clusters
    if alias not in primaries:
        known = ", ".join(map(repr, primaries))
        raise ValueError(f"No cluster has {alias!r} as its primary; there are {known}.")


def _cluster_for(model: type[Model], hints: dict[str, Any]) -> Cluster | None:
    topology = registry.topology
    instance = hints.get("instance")
    if instance is not None:
        alias = instance._state.db
        if alias is not None and alias not in topology.by_alias:
            return None
    return _owner(model, topology)


def _cluster_of(instance: Model, topology: Topology) -> Cluster | None:
    alias = instance._state.db
    if alias is not None:
        return topology.by_alias.get(alias)
    return _owner(instance.__class__, topology)  # request.user is wrapped lazily


def _owner(model: type[Model], topology: Topology) -> Cluster | None:
    """Return the cluster that has a model's table."""
    try:
        return topology.owner_of[model]
    except KeyError:
        cluster = _find_owner(model, topology)
        # Not the models of migrations' states, of which there are many and for a moment.
        if model.__module__ != "__fake__":
            topology.owner_of[model] = cluster
        return cluster


def _find_owner(model: type[Model], topology: Topology) -> Cluster | None:
    """Look for the owner.

    The table of a many-to-many relation lies beside that of the model which declares it,
    and a proxy has the table of its model, whatever their own names are.
    """
    # The database cache asks with a class of its own, which knows nothing of these.
    model = getattr(model._meta, "auto_created", None) or model
    meta = (getattr(model._meta, "concrete_model", None) or model)._meta
    return topology.owner(meta.app_label, meta.model_name or "")
