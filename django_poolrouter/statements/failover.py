"""Redirects a read to another server of the cluster if its replica cannot answer it.

Only a query outside a transaction may be redirected, and only before its first row is fetched.
Django's cursor then continues with the driver's cursor of another connection.  Writes are never
redirected.
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
from ..routing import Cluster, Decision, NoReplica, ReplicaHealth, Scope, reasons
from ..routing.repeat import Fault, NextStep, after_failure
from .decision_log import announce, has_listeners

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


logger = logging.getLogger("django_poolrouter.routing")


def replica_health_of(alias: str) -> ReplicaHealth | None:
    """Return the health of the alias's cluster; None unless the alias is a monitored replica."""
    cluster = registry.topology.cluster_of_replica(alias)
    return None if cluster is None or cluster.prober is None else cluster.health


def eject(alias: str, why: object, *, hangs: bool = False) -> None:
    """Eject a replica that failed: no read goes there until a probe succeeds."""
    health = replica_health_of(alias)
    if health is not None and health.eject(alias, hangs=hangs):
        logger.warning("replica %r is out of service: %s", alias, why)


def begin_connect(alias: str) -> None:
    """Note that a connection to an alias is about to be opened.

    Raises:
        ReplicaUnavailable: the alias is a replica that hung, and a connect would hang too.

    """
    health = replica_health_of(alias)
    if health is None:
        return
    if health.refuses(alias):
        raise ReplicaUnavailable(f"replica {alias!r} is out of service: it did not answer")
    health.forget(alias)


class LostCursor:
    """A cursor for a replica that cannot be reached, used until the statement is known."""

    description = None
    rowcount = -1

    def __init__(self, name: str | None, error: Error) -> None:
        self.name = name
        self.error = error

    def execute(self, *args: Any) -> Any:
        """Raise the error that prevented the connection."""
        raise self.error

    executemany = callproc = copy = copy_expert = copy_from = stream = execute

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def fault(connection: BaseDatabaseWrapper, error: Error) -> Fault | None:
    """Return what an error says about the server; None for engines that are not ours."""
    driver = getattr(connection, "driver_class", None)
    if driver is None or connection.connection is None or error.__cause__ is None:
        return None
    found: Fault | None = driver().diagnose(error.__cause__, connection.connection)
    return found


def ensure_fresh(cluster: Cluster, scope: Scope, context: dict[str, Any]) -> None:
    """Redirect a read if its replica lacks something that the read must see.

    Args:
        cluster: the cluster of the replica.
        scope: the scope of the read.
        context: the context of Django's execute wrappers, with the connection and the cursor.

    Raises:
        ReplicaUnavailable: no replica may be read, and FALLBACK is "error".

    """
    alias = context["cursor"].db.alias
    is_watched = registry.monitor.note_use(cluster)
    cluster.make_current(alias, is_watched=is_watched)
    if not scope.positions and not scope.wrote and cluster.health.may_be_read(alias):
        return
    try:
        decision = cluster.choose_caught_up(scope, alias, is_watched=is_watched)
    except NoReplica as error:
        raise ReplicaUnavailable(str(error)) from None
    if decision.alias != alias:
        redirect(scope, context, decision)


def leave_lost(cluster: Cluster, scope: Scope, context: dict[str, Any]) -> None:
    """Redirect a call whose replica cannot be reached, so that nothing was sent to it."""
    cursor = context["cursor"]
    if isinstance(cursor.cursor, LostCursor):
        eject(cursor.db.alias, cursor.cursor.error)
        _leave(cluster, scope, cursor.db)
        target = cluster.elsewhere(scope, {cursor.db.alias})
        if target is not None:
            redirect(scope, context, Decision(target, reasons.LOST))


def run(cluster: Cluster, scope: Scope, execute: Callable[[], Any], context: dict[str, Any]) -> Any:
    """Execute a query on the chosen replica, or on another server if that replica fails.

    A query that could not be sent goes to the next server.  A query that was sent and failed is
    sent once more.

    Args:
        cluster: the cluster of the replica.
        scope: the scope of the read.
        execute: runs the query on the server that the cursor belongs to at that time.
        context: the context of Django's execute wrappers, with the connection and the cursor.

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
            redirect(scope, context, Decision(target, reason))


def _leave(cluster: Cluster, scope: Scope, connection: BaseDatabaseWrapper) -> None:
    """Close the connection to a replica that failed; the scope's next read chooses again."""
    if scope.choice(cluster.primary) == connection.alias:
        scope.drop_choice(cluster.primary)
    with suppress(Error):
        connection.close()


def redirect(scope: Scope, context: dict[str, Any], decision: Decision) -> None:
    """Let Django's cursor continue with the driver's cursor of another alias.

    Django keeps the connection and the driver's cursor as attributes of its own cursor.  The
    caller already holds that cursor, so it must take over the attributes of a new one.
    """
    cursor, other = context["cursor"], connections[decision.alias]
    if has_listeners():
        announce(f"read moved from {cursor.db.alias}", decision)
    scope.chosen.add(decision.alias)
    is_server_side = getattr(cursor.cursor, "name", None) is not None
    fresh = other.chunked_cursor() if is_server_side else other.cursor()
    with suppress(Exception):
        cursor.close()
    # Our backends may put a close() on a cursor, to end the lease with it.  The old one goes, and
    # a new one comes with the other attributes.
    vars(cursor).pop("close", None)
    vars(cursor).update(vars(fresh))
    context["connection"] = other
