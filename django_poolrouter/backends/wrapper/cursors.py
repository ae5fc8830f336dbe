"""Closes cursors when their lease ends, and ends leases when their last cursor closes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import get_ident
from typing import Any
from weakref import ref

from django.core.exceptions import SynchronousOnlyOperation

from ...sql.marks import Mark
from .state import BLOCK, WrapperState

logger = logging.getLogger("django_poolrouter.pool")

# What Django's close() changes on a wrapper, apart from the connection.
STATE = (*BLOCK, "_can_resume", "closed_in_transaction", "errors_occurred")
CONSTRAINT_CHECKING = "constraint checking"
"""Holds the lease while constraint checking is off, because the connection keeps that state."""


class LeasedCursors(WrapperState):
    """Closes open cursors when a lease ends.  May also end a lease when its last cursor closes.

    The first happens with every ``hold``: a cursor left open would still use the connection
    when another caller has it.  The second happens only with ``hold`` "transaction".
    """

    def hold_for(self, holder: object) -> None:
        """Keep the current lease, or else the next one, until ``let_go``."""
        self._holders.add(holder)

    def let_go(self, holder: object) -> None:
        """Remove a holder.  With ``hold`` "transaction", end the lease if nothing needs it."""
        self._holders.discard(holder)
        self._end_early()

    def _end_early(self) -> None:
        if (
            not self._holders
            and self._holds_per_transaction
            and self._lease is not None
            and self.autocommit
            and not (self._busy or self.in_atomic_block)
            # Another thread that shares this wrapper may be about to use the lease.
            and self._thread_ident == get_ident()
            and not self._thread_sharing_count
            and not (self._keeps_marked and self._is_marked())
        ):
            # A connect() of another class must run for the next lease, too.
            self._can_resume = not (self.errors_occurred or self._overrides.connect)
            if self._overrides.close:
                self._close_early()
            else:
                self._give_back(self._lease)

    def _is_marked(self) -> bool:
        """Tell whether the next statement may need something that an earlier one left behind."""
        return self._session is not None and self.driver_class().is_marked(self.connection)

    def _close_early(self) -> None:
        """Run the overrides of ``close()`` at the early end of a lease, and only them.

        Django's own ``close()`` forgets the on_commit functions, which are about to run, and the
        state of the block.  So the wrapper's state is put back.  An error is logged: the statement
        or transaction that ended here has succeeded.
        """
        state = {name: value for name in STATE if (value := vars(self).get(name, self)) is not self}
        self._busy += 1
        try:
            self.close()
        except Exception:
            logger.exception("close() of %r failed at the early end of a lease", type(self))
        finally:
            self._busy -= 1
            vars(self).update(state)
            if self._lease is not None:  # refused in a coroutine, say, by the garbage collector
                self._give_back(self._lease)

    # -- cursors -------------------------------------------------------------------------

    def _cursor(self, name: str | None = None) -> Any:
        if not self._holds_per_transaction:
            return super()._cursor(name)  # type: ignore[misc]  # not in the stubs
        self._busy += 1
        try:
            if self._can_resume and self.connection is None:
                self._resume()  # if it returns False, the next line connects
            return super()._cursor(name)  # type: ignore[misc]  # not in the stubs
        finally:
            self._busy -= 1
            self._end_early()

    def _prepare_cursor(self, cursor: Any) -> Any:
        prepared = super()._prepare_cursor(cursor)  # type: ignore[misc]  # not in the stubs
        if self._lease is not None:
            if self._holds_per_transaction and self.autocommit and not self.in_atomic_block:
                # The garbage collector may call let_go inside any code of this thread, even the
                # pool's.  The pool allows for that.
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
            holder = ref(cursor)
            if holder in self._holders:  # else the cursor belongs to an earlier lease
                self._holders.discard(holder)
                self._end_early()

    def _close_cursors(self, connection: Any) -> None:
        """Close the cursors that are still open, and free what they use on the connection."""
        refs = [one for one in (*self._cursors, *self._holders) if isinstance(one, ref)]
        session = getattr(connection, "session", None)
        if session is not None and CONSTRAINT_CHECKING in self._holders:
            session.mark = Mark("setting")
        still_open = [cursor for one in refs if (cursor := one()) is not None]
        self._forget_cursors()
        driver = self.driver_class()
        for cursor in still_open:
            driver.close_cursor(cursor)

    def _forget_cursors(self) -> None:
        self._cursors.clear()
        self._holders = {one for one in self._holders if not isinstance(one, ref)}

    # -- state between statements, which needs the same connection -------------------------

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        force = force_begin_transaction_with_broken_autocommit
        if not autocommit and self.own_settings:
            self._forget_own_settings()
        if autocommit or not self._holds_per_transaction:
            super().set_autocommit(autocommit, force)
            return
        self._busy += 1
        try:
            super().set_autocommit(autocommit, force)
        finally:
            self._busy -= 1
            self._end_early()

    def _forget_own_settings(self) -> None:
        """Forget what this backend sent for an earlier lease, before a transaction begins."""
        session = self._session
        if session is not None and session.needs_own_settings():
            with self.wrap_database_errors:
                self.driver_class().reset_settings(self.connection, self.own_settings)

    def _set_autocommit(self, autocommit: bool) -> None:
        try:
            super()._set_autocommit(autocommit)  # type: ignore[misc]  # not in the stubs
        finally:
            if autocommit and self._holds_per_transaction:
                # Django sets this next.  End the lease before Django runs the on_commit hooks:
                # they may take long without a query.
                self.autocommit = True
                self._end_early()

    def disable_constraint_checking(self) -> Any:
        self.hold_for(CONSTRAINT_CHECKING)
        disabled = False
        try:
            disabled = self._without_mark(super().disable_constraint_checking)
        finally:
            if not disabled:
                self.let_go(CONSTRAINT_CHECKING)
        return disabled

    def enable_constraint_checking(self) -> None:
        try:
            self._without_mark(super().enable_constraint_checking)
        finally:
            self.let_go(CONSTRAINT_CHECKING)

    def _without_mark(self, method: Callable[[], Any]) -> Any:
        """Call a method of Django whose statements Django itself undoes later."""
        before = session.mark if (session := self._session) else None
        result = method()
        if (session := self._session) is not None:
            session.mark = before
        return result


class PooledSchemaEditor:
    """Keeps one lease from beginning to end: editors read and change the connection's state."""

    connection: LeasedCursors

    def __enter__(self) -> Any:
        self.connection.hold_for(self)
        try:
            if self.connection.database_pool is not None:
                # In a coroutine Django refuses below, if this editor begins a transaction.
                with suppress(SynchronousOnlyOperation):
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
