"""Notices which statements run, for the router: a write pins, a read ends a turn.

Django asks ``db_for_write`` for much that never writes, and nothing tells a router that
its answer was used.  An execute wrapper on the connections of a cluster sees what
really happens, with any engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .registry import registry
from .routing import Cluster, current_scope

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

Execute = Callable[[Any, Any, bool, dict[str, Any]], Any]

# The first word, after comments and parentheses.
_FIRST_WORD = re.compile(r"(?:\s+|--[^\n]*\n|/\*.*?\*/|\()*([a-z]+)", re.IGNORECASE | re.DOTALL)
_READS = frozenset(
    {"begin", "close", "commit", "declare", "desc", "describe", "explain", "fetch", "listen"}
    | {"pragma", "release", "reset", "rollback", "savepoint", "select", "set", "show", "start"}
    | {"table", "unlisten", "use", "values", "with"}
)
# What makes a write of a statement that begins like a read: WITH … UPDATE, SELECT … INTO,
# EXPLAIN ANALYZE DELETE, a second statement.  A literal may raise false alarm, which only pins.
_WRITES_INSIDE = re.compile(r"\b(insert|update|delete|merge|into)\b|;\s*\S", re.IGNORECASE)
_LOCKS = re.compile(r"\bfor\s+(no\s+key\s+)?update\b", re.IGNORECASE)


def is_write(sql: object) -> bool:
    """Tell whether a statement may have changed data; in doubt it has."""
    if not isinstance(sql, str):  # composed by psycopg
        return True
    first = _FIRST_WORD.match(sql)
    if first is None or first[1].lower() not in _READS:
        return bool(sql.strip())
    if _WRITES_INSIDE.search(sql, first.end()) is None:
        return False
    return _WRITES_INSIDE.search(_LOCKS.sub("", sql[first.end() :])) is not None


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether what is written now will be committed later; never connects."""
    manual = connection.connection is not None and not connection.autocommit
    return connection.in_atomic_block or manual


class StatementRecorder:
    """An execute wrapper that tells the scope what ran on one connection of a cluster."""

    __slots__ = ("cluster", "connection")

    def __init__(self, cluster: Cluster, connection: BaseDatabaseWrapper) -> None:
        self.cluster = cluster
        self.connection = connection

    @property
    def in_atomic_block(self) -> bool:
        """Tell the scope whether the transaction that wrote goes on."""
        return in_transaction(self.connection)

    def __call__(
        self, execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        try:
            return execute(sql, params, many, context)
        finally:
            # Also when it failed: it may have been done before the connection broke.
            if self.connection.alias != self.cluster.primary:
                current_scope().note_read(self.cluster.primary)
            elif is_write(sql):
                self.cluster.note_write(current_scope(), self)


def record_statements(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Put a recorder on a connection of a cluster; a receiver of ``connection_created``."""
    cluster = registry.topology.by_alias.get(connection.alias)
    wrappers = connection.execute_wrappers
    present = [wrapper for wrapper in wrappers if isinstance(wrapper, StatementRecorder)]
    if present and present[0].cluster is cluster:
        return
    for stale in present:
        wrappers.remove(stale)
    if cluster is not None and cluster.replicas:
        # First, not last: ``with connection.execute_wrapper(…)`` takes off the last one.
        wrappers.insert(0, StatementRecorder(cluster, connection))
