"""Transactions that begin under a replica's alias.

``transaction.atomic(using=Model.objects.db)`` names the replica that the router chose for a read.
With one database, such a block covers what is written in it.  So here it opens on the primary.
While it is open, this replica's alias means the primary, for reads too.

A block on a replica that the caller named, as in ``using="replica1"``, stays there.  A write beside
it would be committed at once, so it is refused.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.transaction import Atomic, TransactionManagementError

from ..process.registry import registry
from ..routing import Chosen, Cluster
from ..routing.using import wish
from ..sql.kinds import Kind
from .transactions import note_wrapper, wrappers_of

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("django_poolrouter.routing")

_django_get_connection: Any = transaction.get_connection
_django_init: Any = Atomic.__init__
# Statements in doubt are warned of once for each primary.
_warned: set[str] = set()


def open_on_primaries(*, replicated: bool) -> None:
    """Install what follows if a cluster has replicas, else restore what Django has."""
    init: Any = _init_block if replicated else _django_init
    Atomic.__init__ = init  # type: ignore[method-assign]
    transaction.get_connection = get_connection if replicated else _django_get_connection


def _init_block(block: Any, using: str | None, *options: Any, **more: Any) -> None:
    """Make a block, on the primary if its alias stands for the primary.

    Packages that cache what a block wrote look at its ``using``, so that must be the primary's.
    """
    target = None if using is None else _target(using)
    _django_init(block, target, *options, **more)
    block.began_under = using if target != using else None


def get_connection(using: str | None = None) -> BaseDatabaseWrapper:
    """Return the connection for a transaction under an alias.

    on_commit(), savepoints and the other functions of ``django.db.transaction`` find it so.
    """
    found: BaseDatabaseWrapper = _django_get_connection(None if using is None else _target(using))
    return found


def _target(using: str) -> str:
    cluster = registry.topology.cluster_of_replica(using)
    if cluster is None:
        return using
    if is_moved(using, cluster):
        return cluster.primary
    if not isinstance(using, Chosen) or wish(cluster.primary) == "replica":
        return using
    if connections[using].in_atomic_block:  # a block that the caller wants there
        return using
    # Its block must be found, even if it does not connect.
    note_wrapper(connections[cluster.primary])
    return cluster.primary


def is_moved(replica: str, cluster: Cluster) -> bool:
    """Tell whether a block that began under a replica's alias is open on its primary."""
    return any(
        getattr(block, "began_under", None) == replica
        for connection in wrappers_of(cluster.primary)
        for block in connection.atomic_blocks
    )


def stands_for_primary(connection: Any, cluster: Cluster) -> bool:
    """Tell whether statements on a replica's connection belong on the primary."""
    return is_moved(connection.alias, cluster) and wish(cluster.primary) != "replica"


def primary_in_block(connection: Any) -> BaseDatabaseWrapper | None:
    """Return the primary if a replica's connection stands for it, or None."""
    if transaction.get_connection is not get_connection:  # no replicas
        return None
    cluster = registry.topology.cluster_of_replica(connection.alias)
    if cluster is None or not stands_for_primary(connection, cluster):
        return None
    return connections[cluster.primary]


def check_write(cluster: Cluster, kind: Kind) -> None:
    """Refuse a write on a primary that a transaction on one of its replicas does not cover.

    Raises:
        TransactionManagementError: the statement certainly writes or locks rows.

    """
    if wish(cluster.primary) in ("primary", "replica") or _has_block(cluster.primary):
        return
    replica = next(filter(_has_block, cluster.replicas), None)
    if replica is None:
        return
    text = (
        f"A transaction is open on {replica!r}, a replica of {cluster.primary!r}. A write to "
        f"{cluster.primary!r} is not part of it and would be committed at once. Open the "
        "transaction with using=router.db_for_write(Model), or put the write under "
        "using_primary() if that is what you want."
    )
    if kind.certain in ("rows", "locks"):
        raise TransactionManagementError(text)
    if cluster.primary not in _warned:
        _warned.add(cluster.primary)
        logger.warning("%s This statement is in doubt: %s", text, kind.why)


def _has_block(alias: str) -> bool:
    """Tell whether this thread's caller has a block open on an alias.

    Those of ``TestCase`` do not count.  Nor do those that Django opens within ``delete()`` and
    ``bulk_create()``, which would rather be part of a block that is open: they want no savepoint.
    """
    return any(
        block.savepoint and not block._from_testcase  # type: ignore[attr-defined]
        for connection in wrappers_of(alias)
        for block in connection.atomic_blocks
    )
