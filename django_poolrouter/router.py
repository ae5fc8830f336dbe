"""The database router for Django, and the blocks that overrule it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, ParamSpec, TypeVar, overload

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model

from .errors import ReplicaUnavailable
from .process.registry import registry
from .routing import Cluster, Decision, NoReplica, Topology, Using, current_scope, reasons
from .routing.always_primary import PACKAGES, SESSIONS, belongs_to
from .routing.using import Wish
from .statements import running_test
from .statements.decision_log import announce, has_listeners
from .statements.transactions import in_transaction_on

P = ParamSpec("P")
T = TypeVar("T")


class PoolRouter:
    """Sends writes to the primary of a model's cluster and reads to its replicas.

    It decides from what this process knows.  It never connects and never runs a query.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """Return the alias to read from; None for a model or object of no cluster."""
        try:
            decision = _decide_read(model, hints)
        except NoReplica as error:
            raise ReplicaUnavailable(str(error)) from None
        if decision is None:
            return None
        if has_listeners():
            announce(f"read of {_label(model)}", decision)
        return decision.alias

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        """Return the primary of the model's cluster; None for one of no cluster."""
        decision = self.explain_write(model, **hints)
        if decision is None:
            return None
        if decision.reason is reasons.WRITE_OF_A_COPY and hints["instance"].__class__ is model:
            # save() compares the alias to write to with the one that the object came from.  It
            # leaves out deferred fields only if they are the same.  Otherwise it would read these
            # fields from a replica and overwrite newer values on the primary.
            hints["instance"]._state.db = decision.alias
        if has_listeners():
            announce(f"write of {_label(model)}", decision)
        return decision.alias

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
        try:
            topology = registry.topology
        except ImproperlyConfigured:
            # Django's checks of models ask this.  Let them end, so that `check` prints our check
            # of the settings too.  No migration runs: each connection raises the same error.
            return None
        cluster = topology.by_alias.get(db)
        if cluster is None:
            return None
        if topology.role(db) == "replica":
            return False
        if model_name is None:
            return db in topology.owners(app_label)
        model = hints.get("model")
        if isinstance(model, type):
            return owner(model, topology) is cluster
        return topology.owner(app_label, model_name) is cluster

    def explain_read(self, model: type[Model], **hints: Any) -> Decision | None:
        """Return where a read would go and why; None for a model of no cluster.

        Raises:
            NoReplica: no replica may be read, and FALLBACK is "error".

        """
        return _decide_read(model, hints)

    def explain_write(self, model: type[Model], **hints: Any) -> Decision | None:
        """Return where a write would go and why; None for a model of no cluster."""
        topology = registry.topology
        instance = hints.get("instance")
        if instance is not None and _is_foreign(instance, topology):
            return None
        cluster = owner(model, topology)
        if cluster is None:
            return None
        if instance is not None:
            cluster = _displaced(instance, cluster, topology) or cluster
        copied = instance is not None and _database_of(instance) in cluster.replicas
        return Decision(cluster.primary, reasons.WRITE_OF_A_COPY if copied else reasons.WRITE)


@overload
def using_primary(using: Callable[P, T]) -> Callable[P, T]: ...
@overload
def using_primary(using: str | None = None) -> Using: ...
def using_primary(using: Any = None) -> Any:
    """Send reads to the primary, for one cluster or for all.

    It is a context manager and a decorator, for sync and async code, bare or called.

    Args:
        using: the alias of one cluster's primary, or None for all clusters.

    Raises:
        ValueError: at the start of the block, if no cluster has this primary.

    """
    return _using("primary", using)


@overload
def using_replica(using: Callable[P, T]) -> Callable[P, T]: ...
@overload
def using_replica(using: str | None = None) -> Using: ...
def using_replica(using: Any = None) -> Any:
    """Send reads to a replica, even after a write and inside a transaction.

    It is a context manager and a decorator, for sync and async code, bare or called.

    Args:
        using: the alias of one cluster's primary, or None for all clusters.

    Raises:
        ValueError: at the start of the block, if no cluster has this primary.

    """
    return _using("replica", using)


@overload
def routed(using: Callable[P, T]) -> Callable[P, T]: ...
@overload
def routed(using: str | None = None) -> Using: ...
def routed(using: Any = None) -> Any:
    """Restore the usual rules for reads, where something else keeps them on the primary.

    Those are requests that are not safe, as UNSAFE_METHODS says, and ``using_primary()`` or
    ``using_replica()`` around the block.  Positions, pins and transactions still count.

    It is a context manager and a decorator, for sync and async code, bare or called.

    Args:
        using: the alias of one cluster's primary, or None for all clusters.

    Raises:
        ValueError: at the start of the block, if no cluster has this primary.

    """
    return _using("routed", using)


def _using(role: Wish, using: Any) -> Any:
    if callable(using):
        return Using(role, None)(using)
    return Using(role, using, _check_primary)


def _check_primary(alias: str) -> None:
    primaries = registry.topology.clusters
    if alias not in primaries:
        known = ", ".join(map(repr, primaries))
        raise ValueError(f"No cluster has {alias!r} as its primary. The primaries are {known}.")


def _decide_read(model: type[Model], hints: dict[str, Any]) -> Decision | None:
    topology = registry.topology
    instance = hints.get("instance")
    if instance is not None and _is_foreign(instance, topology):
        return None
    model = _class_of(model)
    cluster, fixed = topology.homes.get(model) or _home(model, topology)
    if cluster is None:
        return None
    if instance is not None:
        displaced = _displaced(instance, cluster, topology)
        if displaced is not None:
            return displaced.decide_read(current_scope(), in_transaction_on)
    if fixed is not None:
        return fixed
    if instance is not None and model in _generic_targets(_class_of(instance)):
        return cluster.generic
    decision = cluster.decide_read(current_scope(), in_transaction_on)
    if decision.alias is not cluster.primary and not running_test.may_use(decision.alias):
        # A replica that the test asks for by using_replica() is refused by Django, with a remedy.
        return cluster.not_listed if decision.reason != reasons.USING_REPLICA else decision
    return decision


def _is_foreign(instance: Model, topology: Topology) -> bool:
    """Tell whether an object came from a database of no cluster."""
    alias = _database_of(instance)
    return alias is not None and alias not in topology.by_alias


def _displaced(instance: Any, cluster: Cluster, topology: Topology) -> Cluster | None:
    """Return the cluster that an object came from, if other objects of its model live elsewhere.

    The caller has named that cluster, and has copies of some tables there.  The object and what
    belongs to it stay there, as they do without a router.

    Args:
        instance: an object, or a class.
        cluster: the cluster of the model that is read or written.
        topology: all clusters.

    """
    found = topology.by_alias.get(_database_of(instance) or "")
    if found is None or found is cluster or owner(instance, topology) is not cluster:
        return None
    return found


def _database_of(instance: Any) -> str | None:
    """Return the alias that an object came from; None for an unsaved one, or for a class."""
    state = getattr(instance, "_state", None)
    return state.db if state is not None else None


def _class_of(model: Any) -> Any:
    """Return a model.  Some packages hand an object of it to Django's routers instead."""
    # Not type(): request.user is a lazy wrapper.
    return model if isinstance(model, type) else model.__class__


def _cluster_of(instance: Model, topology: Topology) -> Cluster | None:
    alias = _database_of(instance)
    if alias is not None:
        return topology.by_alias.get(alias)
    return owner(instance, topology)


def owner(model: Any, topology: Topology) -> Cluster | None:
    """Return the cluster that has a model's table."""
    return _home(_class_of(model), topology)[0]


def may_read_replica(model: Any, topology: Topology) -> bool:
    """Tell whether reads of a model may go to a replica."""
    cluster, fixed = _home(_class_of(model), topology)
    return cluster is not None and bool(cluster.replicas) and fixed is None


def _home(model: type[Model], topology: Topology) -> tuple[Cluster | None, Decision | None]:
    """Return the cluster that has a model's table, and the decision if all reads have the same."""
    home = topology.homes.get(model)
    if home is None:
        cluster = topology.owner(*_table(model))
        home = cluster, None if cluster is None else _fixed(model, cluster)
        # Other classes are not kept: migrations make many, and use them only briefly.
        if _is_registered(model):
            topology.homes[model] = home
    return home


def _fixed(model: type[Model], cluster: Cluster) -> Decision | None:
    """Return the decision for a model that is never read from a replica, or None."""
    if model.__module__ == "__fake__":
        # A migration's.  Its rows and even its table may be too new for the replicas.
        return cluster.historical
    rule = cluster.config.always_primary.rule(*_table(model))
    if rule is not None:
        return cluster.always_primary if rule else None
    if belongs_to(model, SESSIONS) or model is _session_model():
        return cluster.session
    return cluster.package if belongs_to(model, PACKAGES) else None


def _session_model() -> type[Model] | None:
    """Return the model of SESSION_ENGINE; None if sessions are not kept in a table."""
    if not apps.models_ready:
        return None
    try:
        found = import_module(settings.SESSION_ENGINE).SessionStore.get_model_class()
    except Exception:  # of an engine without a table, or one that cannot be imported
        return None
    return found if isinstance(found, type) else None


def _is_registered(model: Any) -> bool:
    meta = model._meta
    registered = apps.all_models.get(meta.app_label, {})
    return registered.get(getattr(meta, "model_name", "")) is model


def _table(model: type[Model]) -> tuple[str, str]:
    """Return the app label and name of the model that decides where a model's table is.

    The table of a many-to-many relation is where the table of the declaring model is.  A proxy
    uses the table of its concrete model.  The names of the relation's model and of the proxy do
    not matter.
    """
    # The database cache passes a class of its own, which lacks these attributes.
    model = getattr(model._meta, "auto_created", None) or model
    meta = (getattr(model._meta, "concrete_model", None) or model)._meta
    return meta.app_label, meta.model_name or ""


@lru_cache(maxsize=1024)
def _generic_targets(model: type[Model]) -> frozenset[type[Model]]:
    """Return the models that a model's generic relations lead to.

    Their managers use the answer of ``db_for_read`` for writes too.
    """
    # Recognized by attributes: GenericRelation can only be imported if its app is installed.
    fields = getattr(model._meta, "private_fields", ())  # not of the database cache
    return frozenset(field.related_model for field in fields if field.one_to_many)


def _label(model: type[Model]) -> str:
    # The database cache passes a class of its own, which has no label.
    return str(getattr(model._meta, "label", model._meta.app_label))
