"""Sends a read that a replica cannot answer to another server of its cluster.

Only a query outside a transaction may move, and only while none of its rows was fetched;
Django's cursor then goes on with a driver's cursor of another connection.  A write never.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.utils import Error

from ..errors import PoolError, ReplicaUnavailable
from ..process.registry import registry
from ..routing import Cluster, Decision, ReplicaHealth, Scope, reasons
from ..routing.repeat import Fault, NextStep, after_failure
from .decision_log import somebody_listens, tell

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


logger = logging.getLogger("django_poolrouter.routing")


def replicas_with(alias: str) -> ReplicaHealth | None:
    """Return what is known of a cluster's replicas, if the alias is one and looked after."""
    cluster = registry.topology.cluster_of_replica(alias)
    return None if cluster is None or cluster.prober is None else cluster.health


def eject(alias: str, why: object, *, hangs: bool = False) -> None:
    """A replica failed: no read goes there until a probe finds it well."""
    replicas = replicas_with(alias)
    if replicas is not None and replicas.eject(alias, hangs=hangs):
        logger.warning("replica %r is out of service: %s", alias, why)


def begin_connect(alias: str) -> None:
    """A connection is about to be opened.

    Raises:
        ReplicaUnavailable: it would only hang.

    """
    replicas = replicas_with(alias)
    if replicas is None:
        return
    if replicas.refuses(alias):
        raise ReplicaUnavailable(f"replica {alias!r} is out of service: it did not answer")
    replicas.forget(alias)


class LostCursor:
    """Stands in for the cursor of a replica without connection, until the statement is known."""

    description = None
    rowcount = -1

    def __init__(self, name: str | None, error: Error) -> None:
        self.name = name
        self._error = error

    def execute(self, *args: Any) -> Any:
        """Raise why there is no connection."""
        raise self._error

    executemany = callproc = copy = copy_expert = copy_from = stream = execute

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def fault(connection: BaseDatabaseWrapper, error: Error) -> Fault | None:
    """Return what an error says of the server; None for engines that are not ours."""
    driver = getattr(connection, "driver_class", None)
    if driver is None or connection.connection is None or error.__cause__ is None:
        return None
    found: Fault | None = driver().diagnose(error.__cause__, connection.connection)
    return found


def ensure_fresh(cluster: Cluster, scope: Scope, context: dict[str, Any]) -> None:
    """Move what is about to be read, if its replica has not what the scope must see.

    Args:
        cluster: of the replica.
        scope: in which it is read.
        context: of Django's execute wrappers: the connection and the cursor.

    """
    if scope.positions or scope.wrote:
        cursor = context["cursor"]
        decision = cluster.choose_caught_up(scope, cursor.db.alias)
        if decision.alias != cursor.db.alias:
            _move(scope, context, decision)


def run(cluster: Cluster, scope: Scope, execute: Callable[[], Any], context: dict[str, Any]) -> Any:
    """Execute a query on the replica that it was meant for, or elsewhere.

    Where it could not be sent at all, the next server gets it; once it was sent and failed, it
    is sent once more and no further.

    Args:
        cluster: of the replica.
        scope: in which it is read.
        execute: runs the query on whatever the cursor leads to.
        context: of Django's execute wrappers: the connection and the cursor.

    """
    cursor = context["cursor"]
    tried: set[str] = set()
    is_repeated = False
    while True:
        try:
            return execute()
        except Error as error:
            connection, was_sent = cursor.db, not isinstance(cursor.cursor, LostCursor)
            found = fault(connection, error) if was_sent else None
            step = after_failure(
                found,
                on_primary=connection.alias == cluster.primary,
                was_sent=was_sent,
                is_repeated=is_repeated,
            )
            if step is NextStep.EJECT_AND_MOVE and not isinstance(error, PoolError):
                eject(connection.alias, error)
            if step in (NextStep.EJECT_AND_MOVE, NextStep.LEAVE):
                _leave(cluster, scope, connection)
            if step in (NextStep.RAISE, NextStep.LEAVE):
                raise
            tried.add(connection.alias)
            target = cluster.elsewhere(scope, tried)
            if target is None:
                raise
            is_repeated = is_repeated or was_sent
            reason = reasons.CONFLICT if step is NextStep.MOVE else reasons.LOST
            _move(scope, context, Decision(target, reason))


def _leave(cluster: Cluster, scope: Scope, connection: BaseDatabaseWrapper) -> None:
    """Give back the connection to a replica that failed; the scope's next read chooses again."""
    if scope.choice(cluster.primary) == connection.alias:
        scope.drop_choice(cluster.primary)
    with suppress(Error):
        connection.close()


def _move(scope: Scope, context: dict[str, Any], decision: Decision) -> None:
    """Let Django's cursor go on with a driver's cursor of another alias."""
    cursor, other = context["cursor"], connections[decision.alias]
    if somebody_listens():
        tell(f"read moved from {cursor.db.alias}", decision)
    scope.chosen.add(decision.alias)
    is_server_side = getattr(cursor.cursor, "name", None) is not None
    fresh = other.chunked_cursor() if is_server_side else other.cursor()
    with suppress(Exception):
        cursor.close()
    # All that Django's cursor keeps, and a close() of its own if the lease ends with it.
    vars(cursor).pop("close", None)
    vars(cursor).update(vars(fresh))
    context["connection"] = other
