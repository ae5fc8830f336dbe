"""Cursors and leases: which of them ends with the other."""

from __future__ import annotations

from functools import partial
from threading import get_ident
from typing import Any
from weakref import ref

from .state import WrapperState

CONSTRAINT_CHECKING = "constraint checking"
"""Holds the lease while constraints are not checked: a state of the connection."""


class LeasedCursors(WrapperState):
    """Closes the cursors that are left open when a lease ends, or ends it with the last one.

    The first always: a cursor that is kept would go on on a connection that somebody else
    has by then.  The second with ``hold`` "transaction".
    """

    def hold_for(self, holder: object) -> None:
        """Keep the lease, this one or the next, until ``let_go``."""
        self._holders.add(holder)

    def let_go(self, holder: object) -> None:
        """Give the lease back if ``holder`` was the last that needed it."""
        self._holders.discard(holder)
        self._end_early()

    def _end_early(self) -> None:
        if (
            not self._holders
            and self._holds_per_transaction
            and self._lease is not None
            and self.autocommit
            and not (self._busy or self.in_atomic_block)
            # No thread ends what another may just begin to use.
            and self._thread_ident == get_ident()
            and not self._thread_sharing_count
        ):
            self._can_resume = not self.errors_occurred
            self._give_back(self._lease)

    # -- cursors -------------------------------------------------------------------------

    def _cursor(self, name: str | None = None) -> Any:
        if not self._holds_per_transaction:
            return super()._cursor(name)  # type: ignore[misc]  # not in the stubs
        self._busy += 1
        try:
            if self._can_resume and self.connection is None:
                self._resume()  # where it cannot, the next line connects
            return super()._cursor(name)  # type: ignore[misc]  # not in the stubs
        finally:
            self._busy -= 1
            self._end_early()

    def _prepare_cursor(self, cursor: Any) -> Any:
        prepared = super()._prepare_cursor(cursor)  # type: ignore[misc]  # not in the stubs
        if self._lease is not None:
            if self._holds_per_transaction and self.autocommit and not self.in_atomic_block:
                # Garbage-collected, it lets go within any code of this thread: the pool minds that.
                self._holders.add(ref(cursor, self.let_go))
                prepared.close = partial(self._close_cursor, cursor)
            else:
                self._cursors.add(ref(cursor, self._cursors.discard))
        return prepared

    def _close_cursor(self, cursor: Any) -> None:
        try:
            with self.wrap_database_errors:
                cursor.close()
        finally:
            known = ref(cursor)
            if known in self._holders:  # not of an earlier lease
                self._holders.discard(known)
                self._end_early()

    def _close_cursors(self) -> None:
        """Close what is left open, with what it holds of the connection."""
        known = [one for one in (*self._cursors, *self._holders) if isinstance(one, ref)]
        left = [cursor for one in known if (cursor := one()) is not None]
        self._forget_cursors()
        driver = self.driver_class()
        for cursor in left:
            driver.close_cursor(cursor)

    def _forget_cursors(self) -> None:
        self._cursors.clear()
        self._holders = {one for one in self._holders if not isinstance(one, ref)}

    # -- what lies between statements, and needs the same connection -----------------------

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        force = force_begin_transaction_with_broken_autocommit
        if autocommit or not self._holds_per_transaction:
            super().set_autocommit(autocommit, force)
            return
        self._busy += 1
        try:
            super().set_autocommit(autocommit, force)
        finally:
            self._busy -= 1
            self._end_early()

    def _set_autocommit(self, autocommit: bool) -> None:
        try:
            super()._set_autocommit(autocommit)  # type: ignore[misc]  # not in the stubs
        finally:
            if autocommit and self._holds_per_transaction:
                # As Django notes next.  A transaction ends here, before the hooks that run
                # after its commit: they may take long without a query.
                self.autocommit = True
                self._end_early()

    def disable_constraint_checking(self) -> Any:
        self.hold_for(CONSTRAINT_CHECKING)
        disabled = False
        try:
            disabled = super().disable_constraint_checking()
        finally:
            if not disabled:
                self.let_go(CONSTRAINT_CHECKING)
        return disabled

    def enable_constraint_checking(self) -> None:
        try:
            super().enable_constraint_checking()
        finally:
            self.let_go(CONSTRAINT_CHECKING)


class PooledSchemaEditor:
    """Has one connection from beginning to end: editors look at it, and change its state."""

    connection: LeasedCursors

    def __enter__(self) -> Any:
        self.connection.hold_for(self)
        try:
            if self.connection.database_pool is not None:
                self.connection.ensure_connection()
            return super().__enter__()  # type: ignore[misc]
        except BaseException:
            self.connection.let_go(self)
            raise

    def __exit__(self, *error: Any) -> None:
        try:
            super().__exit__(*error)  # type: ignore[misc]
        finally:
            self.connection.let_go(self)
