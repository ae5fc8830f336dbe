"""Records which statements run, for the router: a write pins, a read ends a turn.

Django calls ``db_for_write`` for much that never writes, and never says that it used a router's
answer.  An execute wrapper on the connections of a cluster sees what really runs, with any
engine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db.backends.utils import CursorWrapper
from django.db.utils import Error, InternalError, OperationalError

from .. import conf
from ..errors import PoolError, ReplicaUnavailable
from ..process.registry import registry
from ..routing import Cluster, current_scope
from ..sql.kinds import Kind, classify
from . import blocks, failover, running_test
from .decision_log import log
from .failover import LostCursor
from .transactions import in_transaction, in_transaction_on, note_wrapper

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

Execute = Callable[[Any, Any, bool, dict[str, Any]], Any]

# Methods of cursors that Django's execute wrappers do not see: procedures, and the COPY (of both
# versions) and the streams of psycopg.
_CALLS = ("callproc", "copy", "copy_expert", "copy_from", "stream")


class StatementRecorder:
    """An execute wrapper that notes in the scope what ran on one connection of a cluster.

    It also redirects reads that the router sent to a replica, if the replica fails or lacks
    something that they must see.  If the router has not chosen the replica in this scope, the
    caller has named it, and the read stays there.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    @property
    def goes_on(self) -> bool:
        """Tell whether a transaction is open on the connection, so that it commits later."""
        return in_transaction(self.connection)

    def __call__(
        self, execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        cluster = registry.topology.by_alias.get(self.connection.alias)
        if cluster is None:  # the settings changed, as in tests
            return execute(sql, params, many, context)
        if self.connection.alias == cluster.primary:
            kind = classify(sql, self.connection.vendor)
            if kind.is_write or kind.certain:
                blocks.check_write(cluster, kind)
            try:
                return execute(sql, params, many, context)
            finally:
                # Even if it failed: the server may have done it before the connection broke.
                if kind.is_write:
                    self.note_write(cluster)
                elif kind.is_query:
                    self._count_unsafe_read(cluster)
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
        """Run a statement that was sent to a replica, on that replica or elsewhere."""
        scope = current_scope()
        kind = classify(sql, self.connection.vendor)
        registry.monitor.note_use(cluster)

        def run() -> Any:
            return execute(sql, params, many, context)

        if blocks.stands_for_primary(self.connection, cluster):
            failover.redirect(scope, context, cluster.block)
            try:
                return run()
            finally:
                if kind.is_write:
                    _note_call(context["connection"])
        try:
            _refuse_in_tests(self.connection, kind)
            if many or not kind.may_query or not _is_movable(self.connection):
                return run()
            failover.ensure_fresh(cluster, scope, context)
            return failover.run(cluster, scope, run, context) if kind.is_query else run()
        except Error as error:
            if kind.is_write or kind.certain or _is_refused(self.connection, error):
                error.add_note(
                    f"{self.connection.alias!r} is a replica of {cluster.primary!r}. Do not name "
                    f"a database, so that the router chooses it, or name {cluster.primary!r}. "
                    "If the alias is that of an object, do the whole change under "
                    "using_primary() or in atomic(), and read the object there."
                )
            raise
        finally:
            scope.note_read(cluster.primary)
            used = context.get("connection", self.connection)
            if used is not self.connection and kind.is_write:
                _note_call(used)

    def _count_unsafe_read(self, cluster: Cluster) -> None:
        scope = current_scope()
        if scope.is_unsafe and scope.took_unsafe_read(cluster.primary):
            pool = getattr(self.connection, "database_pool", None)
            if pool is not None:
                pool.note_unsafe_read()

    def note_write(self, cluster: Cluster) -> None:
        """Note in the scope that this connection may have written to the cluster's primary."""
        cluster.note_write(current_scope(), self)
        if log.isEnabledFor(logging.DEBUG) and not self.goes_on:
            # Perhaps the caller expects the write to be part of that transaction.
            for primary in filter(in_transaction_on, registry.topology.clusters):
                alias = self.connection.alias
                log.debug("a write to %r is not in the transaction on %r", alias, primary)


def _is_movable(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether reads on a connection may be redirected: only if the router chose its alias."""
    is_monitored = failover.replica_health_of(connection.alias) is not None
    is_chosen = connection.alias in current_scope().chosen
    return is_monitored and is_chosen and not in_transaction(connection)


def _refuse_in_tests(connection: BaseDatabaseWrapper, kind: Kind) -> None:
    """Refuse on a test's mirror what a replica refuses in production."""
    if not kind.certain or not running_test.is_running():
        return
    config = conf.replica(connection.alias)
    is_postgresql = connection.vendor == "postgresql"
    if config is None or not config.read_only or (kind.certain == "locks" and not is_postgresql):
        return
    error = InternalError if is_postgresql else OperationalError  # as the driver's
    raise error(f"{connection.alias!r} is read-only: {kind.why}")


def _is_refused(connection: Any, error: Error) -> bool:
    """Tell whether a server refused a statement because it is read-only."""
    driver = getattr(connection, "driver_class", None)
    return driver is not None and driver.refused_write(error.__cause__ or error)


def record_statements(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Put one recorder on a connection of a cluster; can receive ``connection_created``."""
    note_wrapper(connection)
    cluster = registry.topology.by_alias.get(connection.alias)
    wrappers = connection.execute_wrappers
    is_recorded = any(isinstance(wrapper, StatementRecorder) for wrapper in wrappers)
    if cluster is not None and cluster.replicas and not is_recorded:
        # First, not last: ``with connection.execute_wrapper(…)`` removes the last one.
        wrappers.insert(0, StatementRecorder(connection))


def record_calls(cursor: Any) -> None:
    """Make a cursor of a recorded connection note the calls that execute wrappers do not see."""
    if isinstance(cursor, CursorWrapper):  # else the cursor is a tool's own
        kinds: list[Any] = [type(cursor), type(cursor.cursor)]
        cursor.__class__ = _recording(*kinds)


@lru_cache(maxsize=64)
def _recording(kind: Any, drivers: Any) -> type:
    """Return a subclass of Django's cursor class that notes calls past the execute wrappers."""
    names = [name for name in _CALLS if hasattr(kind, name) or hasattr(drivers, name)]
    return type(kind.__name__, (kind,), {name: _recorded(kind, name) for name in names})


def _recorded(kind: type, name: str) -> Callable[..., Any]:
    django_method = getattr(kind, name, None)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        kind = classify(args[0] if args else None, self.db.vendor)
        _prepare_call(self, kind)
        try:
            if django_method is not None:
                return django_method(self, *args, **kwargs)
            return getattr(self.cursor, name)(*args, **kwargs)
        finally:
            if name != "stream" or kind.is_write:
                _note_call(self.db)

    return call


def _prepare_call(cursor: Any, kind: Kind) -> None:
    """Do for such a call what the recorder does before a statement."""
    cluster, context = registry.topology.by_alias.get(cursor.db.alias), {"cursor": cursor}
    if cluster is None:
        return
    if cursor.db.alias == cluster.primary:
        if kind.is_write:
            blocks.check_write(cluster, kind)
    elif blocks.stands_for_primary(cursor.db, cluster):
        failover.redirect(current_scope(), context, cluster.block)
    elif _is_movable(cursor.db):
        failover.ensure_fresh(cluster, current_scope(), context)
        failover.leave_lost(cluster, current_scope(), context)


def _note_call(connection: BaseDatabaseWrapper) -> None:
    cluster = registry.topology.clusters.get(connection.alias)
    if cluster is not None:
        for wrapper in connection.execute_wrappers:
            if isinstance(wrapper, StatementRecorder):
                wrapper.note_write(cluster)


def stand_in(connection: BaseDatabaseWrapper, name: str | None, error: Error) -> LostCursor | None:
    """Return a cursor for a replica that cannot be reached; None if the error must be raised.

    Args:
        connection: Django's connection to the replica.
        name: the name of a server-side cursor, or None.
        error: why the replica cannot be reached.

    """
    is_busy = isinstance(error, PoolError) and not isinstance(error, ReplicaUnavailable)
    is_named = connection.alias not in current_scope().chosen
    is_monitored = failover.replica_health_of(connection.alias) is not None
    if is_busy or is_named or not is_monitored or connection.in_atomic_block:
        return None
    connection.close()
    # If it never connected, it has no recorder yet.
    record_statements(connection)
    return LostCursor(name, error)
