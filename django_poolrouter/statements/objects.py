"""Objects that were read from a replica, where Django takes their alias for the one to write to.

``_state.db`` of such an object is the replica's alias, and it stays so: what Django reads by it
goes on being a read of the replica.  With one database the same alias is right for a write, too.
So here

- ``add()`` and ``set()`` of a relation take the objects, because they belong to the cluster;
- ``save(using=…)``, ``delete(using=…)`` and querysets write to the primary if they are given an
  alias that the router chose.

A write with an alias that the caller named, as in ``using="replica1"``, is still the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.apps import apps
from django.db.models import Model, QuerySet
from django.db.models.fields import related_descriptors

from ..process.registry import registry
from ..routing import Chosen

# What Django has in each place before anything is installed.
_django: dict[tuple[Any, str], Any] = {}


def write_to_primaries(*, replicated: bool) -> None:
    """Install all this if a cluster has replicas, else restore what Django has."""
    for (owner, name), ours in _places().items():
        djangos = _django.setdefault((owner, name), vars(owner)[name])
        setattr(owner, name, ours(djangos) if replicated else djangos)
    # A relation keeps the class of its managers, perhaps one that was made before.
    for model in apps.get_models(include_auto_created=True):
        for attribute in vars(model).values():
            if isinstance(attribute, related_descriptors.ReverseManyToOneDescriptor):
                vars(attribute).pop("related_manager_cls", None)


def _places() -> dict[tuple[Any, str], Callable[[Any], Any]]:
    places: dict[tuple[Any, str], Callable[[Any], Any]] = {
        (Model, "save"): _taking_primary,
        (Model, "delete"): _taking_primary,
        (QuerySet, "db"): _writing_to_primary,
        (related_descriptors, "create_reverse_many_to_one_manager"): _adding_copies,
    }
    if apps.is_installed("django.contrib.contenttypes"):
        from django.contrib.contenttypes import fields

        places[fields, "create_generic_related_manager"] = _adding_copies
    return places


def _primary_of(alias: Any) -> Any:
    """Return the alias for a write: the primary's, for a replica that the router chose."""
    if isinstance(alias, Chosen):
        cluster = registry.topology.cluster_of_replica(alias)
        if cluster is not None:
            return cluster.primary
    return alias


def _adopt(instance: Any) -> None:
    """Make an object that came from a replica its primary's, because it is about to be written."""
    state = getattr(instance, "_state", None)
    cluster = registry.topology.cluster_of_replica(state.db) if state and state.db else None
    if state is not None and cluster is not None:
        state.db = cluster.primary


def _taking_primary(djangos: Any) -> Any:
    """Return ``save`` or ``delete`` of a model that writes to the primary."""

    @wraps(djangos)
    def write(self: Model, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, Chosen) for value in (*args, kwargs.get("using"))):
            args = tuple(map(_primary_of, args))
            kwargs = {name: _primary_of(value) for name, value in kwargs.items()}
            # Else save() would read deferred fields from the replica, and write them.
            _adopt(self)
        return djangos(self, *args, **kwargs)

    return write


def _writing_to_primary(djangos: Any) -> Any:
    """Return ``QuerySet.db`` that is the primary's alias for a write."""
    get = djangos.fget

    @wraps(get)
    def db(self: Any) -> Any:
        return _primary_of(get(self)) if self._for_write else get(self)

    return property(db)


def _adding_copies(djangos: Any) -> Any:
    """Return a factory of managers whose ``add()`` takes objects of a replica; ``set()`` calls it.

    Django compares ``_state.db`` with the alias to write to, to find objects that are not saved.
    """

    @wraps(djangos)
    def create(superclass: Any, rel: Any) -> Any:
        manager = djangos(superclass, rel)
        djangos_add = manager.add

        @wraps(djangos_add)
        def add(self: Any, *objs: Any, bulk: bool = True) -> None:
            for instance in objs:
                _adopt(instance)
            djangos_add(self, *objs, bulk=bulk)

        manager.add = add
        return manager

    return create
