"""Finds out, without connecting, which databases this thread is in a transaction on."""

from __future__ import annotations

import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

testcase_apart: ContextVar[bool] = ContextVar("poolrouter_testcase_apart", default=False)
"""Whether reads ignore the transaction that TestCase wraps around a test."""


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a write at this moment would be committed later, without connecting."""
    manual = connection.connection is not None and not connection.autocommit
    return connection.in_atomic_block or manual


def binds_reads(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a connection is in a transaction that reads must be part of."""
    return in_transaction(connection) and not (
        testcase_apart.get() and _is_testcases_alone(connection)
    )


def _is_testcases_alone(connection: BaseDatabaseWrapper) -> bool:
    blocks = connection.atomic_blocks
    return bool(blocks) and all(block._from_testcase for block in blocks)  # type: ignore[attr-defined]


class _Seen(threading.local):
    """The wrappers that this thread has used.  A look into Django's ``connections`` is slower."""

    def __init__(self) -> None:
        self.wrappers: dict[str, list[weakref.ref[BaseDatabaseWrapper]]] = {}


_seen = _Seen()


def note_wrapper(connection: BaseDatabaseWrapper) -> None:
    """Note that this thread uses a wrapper, which may not have connected yet."""
    # A wrapper keeps the alias that it was first asked for by, perhaps the router's own answer.
    # But ``connection.alias`` names a connection and does not ask the router.
    connection.alias = str(connection.alias)
    known = _seen.wrappers.get(connection.alias, [])
    if not any(reference() is connection for reference in known):
        # Copies have the same alias.  Those that no longer exist are dropped here.
        living = [reference for reference in known if reference() is not None]
        _seen.wrappers[connection.alias] = [*living, weakref.ref(connection)]


def wrappers_of(alias: str) -> list[BaseDatabaseWrapper]:
    """Return the wrappers of an alias that this thread has used, most often one or none."""
    found = [reference() for reference in _seen.wrappers.get(alias, ())]
    return [connection for connection in found if connection is not None]


def in_transaction_on(alias: str) -> bool:
    """Tell whether this thread is in a transaction on an alias, without connecting.

    A wrapper that this thread has not noted has not connected, so it is not in a transaction.
    """
    return any(map(binds_reads, wrappers_of(alias)))
