"""Notices which statements run, for the router: a write pins, a read ends a turn.

Django asks ``db_for_write`` for much that never writes, and nothing tells a router that
its answer was used.  An execute wrapper on the connections of a cluster sees what
really happens, with any engine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db.backends.utils import CursorWrapper
from django.db.utils import Error

from ..errors import PoolError, ReplicaUnavailable
from ..process.registry import registry
from ..routing import Cluster, current_scope
from ..sql.kinds import is_query, is_write, may_query
from . import failover
from .decision_log import log
from .failover import LostCursor
from .transactions import in_transaction, in_transaction_on, note_wrapper

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

Execute = Callable[[Any, Any, bool, dict[str, Any]], Any]

# What Django's execute wrappers do not see: procedures, and of psycopg its COPY, in either
# version, and its streams.
_CALLS = ("callproc", "copy", "copy_expert", "copy_from", "stream")


class StatementRecorder:
    """An execute wrapper that tells the scope what ran on one connection of a cluster.

    Reads that the router sent to a replica it also sends elsewhere, if that has not what they
    must see or fails; where an alias was named outright, whoever did so meant that server.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    @property
    def goes_on(self) -> bool:
        """Tell the scope whether the transaction that wrote is still open."""
        return in_transaction(self.connection)

    def __call__(
        self, execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        cluster = registry.topology.by_alias.get(self.connection.alias)
        if cluster is None:  # the settings changed, as in tests
            return execute(sql, params, many, context)
        if self.connection.alias == cluster.primary:
            try:
                return execute(sql, params, many, context)
            finally:
                # Also when it failed: it may have been done before the connection broke.
                if is_write(sql):
                    self.note_write(cluster)
        return self._on_replica(cluster, execute, sql, params, many, context)

    def _on_replica(
        self,
        cluster: Cluster,
        execute: Execute,
        sql: Any,
        params: Any,
        many: bool,
        context: dict[str, Any],
    ) -> Any:
        """Run a statement that was sent to a replica, there or elsewhere."""
        scope = current_scope()
        registry.monitor.note_use(cluster)

        def run() -> Any:
            return execute(sql, params, many, context)

        try:
            if many or not may_query(sql) or not _is_movable(self.connection):
                return run()
            failover.ensure_fresh(cluster, scope, context)
            return failover.run(cluster, scope, run, context) if is_query(sql) else run()
        except Error as error:
            if is_write(sql):
                error.add_note(
                    f"{self.connection.alias!r} is a replica of {cluster.primary!r}. Name no "
                    f"database, so that the router chooses it, or name {cluster.primary!r}."
                )
            raise
        finally:
            scope.note_read(cluster.primary)
            used = context.get("connection", self.connection)
            if used is not self.connection and is_write(sql):
                _note_call(used)

    def note_write(self, cluster: Cluster) -> None:
        """Tell the scope that this connection, of a cluster's primary, may have written."""
        cluster.note_write(current_scope(), self)
        if log.isEnabledFor(logging.DEBUG) and not self.goes_on:
            # The caller may have meant otherwise.
            for primary in filter(in_transaction_on, registry.topology.clusters):
                alias = self.connection.alias
                log.debug("a write to %r is not in the transaction on %r", alias, primary)


def _is_movable(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether reads on a connection may go elsewhere: the router chose its replica."""
    is_looked_after = failover.replicas_with(connection.alias) is not None
    is_chosen = connection.alias in current_scope().chosen
    return is_looked_after and is_chosen and not in_transaction(connection)


def record_statements(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Put a recorder on a connection of a cluster, once; fit to receive ``connection_created``."""
    note_wrapper(connection)
    cluster = registry.topology.by_alias.get(connection.alias)
    wrappers = connection.execute_wrappers
    is_recorded = any(isinstance(wrapper, StatementRecorder) for wrapper in wrappers)
    if cluster is not None and cluster.replicas and not is_recorded:
        # First, not last: ``with connection.execute_wrapper(…)`` takes off the last one.
        wrappers.insert(0, StatementRecorder(connection))


def record_calls(cursor: Any) -> None:
    """Have a cursor of Django's on a recorded connection tell of calls that nothing else sees."""
    if isinstance(cursor, CursorWrapper):  # else it is some tool's own
        kinds: list[Any] = [type(cursor), type(cursor.cursor)]
        cursor.__class__ = _recording(*kinds)


@lru_cache(maxsize=64)
def _recording(kind: Any, drivers: Any) -> type:
    """Return a class of Django's cursors whose calls past the execute wrappers count as writes."""
    names = [name for name in _CALLS if hasattr(kind, name) or hasattr(drivers, name)]
    return type(kind.__name__, (kind,), {name: _recorded(kind, name) for name in names})


def _recorded(kind: type, name: str) -> Callable[..., Any]:
    of_django = getattr(kind, name, None)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        _ensure_fresh_call(self)
        try:
            if of_django is not None:
                return of_django(self, *args, **kwargs)
            return getattr(self.cursor, name)(*args, **kwargs)
        finally:
            if name != "stream" or is_write(args[0] if args else None):
                _note_call(self.db)

    return call


def _ensure_fresh_call(cursor: Any) -> None:
    cluster = registry.topology.by_alias.get(cursor.db.alias)
    if cluster is not None and _is_movable(cursor.db):
        failover.ensure_fresh(cluster, current_scope(), {"cursor": cursor})


def _note_call(connection: BaseDatabaseWrapper) -> None:
    cluster = registry.topology.clusters.get(connection.alias)
    if cluster is not None:
        for wrapper in connection.execute_wrappers:
            if isinstance(wrapper, StatementRecorder):
                wrapper.note_write(cluster)


def stand_in(connection: BaseDatabaseWrapper, name: str | None, error: Error) -> LostCursor | None:
    """Return a cursor for a replica that cannot be reached; None if the caller must know.

    Args:
        connection: Django's, of the replica.
        name: of a server-side cursor.
        error: why it cannot be reached.

    """
    busy = isinstance(error, PoolError) and not isinstance(error, ReplicaUnavailable)
    named = connection.alias not in current_scope().chosen
    unknown = failover.replicas_with(connection.alias) is None
    if busy or named or unknown or connection.in_atomic_block:
        return None
    connection.close()
    # It never connected, perhaps.
    record_statements(connection)
    return LostCursor(name, error)
