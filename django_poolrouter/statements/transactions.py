"""Which databases this thread is in a transaction on, told without connecting."""

from __future__ import annotations

import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

testcase_apart: ContextVar[bool] = ContextVar("poolrouter_testcase_apart", default=False)
"""Whether the transaction that TestCase wraps around a test counts as none."""


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a write of this moment will be committed later; never connects."""
    manual = connection.connection is not None and not connection.autocommit
    return connection.in_atomic_block or manual


def binds_reads(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a primary is in a transaction that reads belong to."""
    return in_transaction(connection) and not (
        testcase_apart.get() and _is_testcases_alone(connection)
    )


def _is_testcases_alone(connection: BaseDatabaseWrapper) -> bool:
    blocks = connection.atomic_blocks
    return bool(blocks) and all(block._from_testcase for block in blocks)  # type: ignore[attr-defined]


class _Seen(threading.local):
    """The wrappers that this thread used: Django's ``connections`` is slow to ask."""

    def __init__(self) -> None:
        self.wrappers: dict[str, list[weakref.ref[BaseDatabaseWrapper]]] = {}


_seen = _Seen()


def note_wrapper(connection: BaseDatabaseWrapper) -> None:
    """Note that this thread uses a wrapper, perhaps before it connected."""
    known = _seen.wrappers.get(connection.alias, [])
    if not any(reference() is connection for reference in known):
        # Copies have the same alias; those that are gone are left out here.
        living = [reference for reference in known if reference() is not None]
        _seen.wrappers[connection.alias] = [*living, weakref.ref(connection)]


def in_transaction_on(alias: str) -> bool:
    """Tell whether this thread is in a transaction on an alias; never connects.

    A wrapper that this thread did not note has not connected, so it is in none.
    """
    for reference in _seen.wrappers.get(alias, ()):
        connection = reference()
        if connection is not None and binds_reads(connection):
            return True
    return False
