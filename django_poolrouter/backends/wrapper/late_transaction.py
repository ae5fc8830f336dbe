"""Lets an outermost atomic() take its connection only at its first statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import refuse_coroutines
from ...statements.transactions import note_wrapper
from .state import BLOCK, WrapperState


class LateTransaction(WrapperState):
    """Enters an outermost atomic() without a connection, and begins at the first statement.

    On entry, Django asks for the autocommit state, switches autocommit off and notes that it is
    in a block.  Without a connection, the autocommit state is that of the settings, and
    ``_begins_late`` notes that autocommit was switched off.  The first statement sets the
    block's attributes aside, connects, begins the transaction and restores them.
    """

    def may_begin_late(self) -> bool:
        """Tell whether beginning a transaction at its first statement makes no difference.

        In SQLite's other modes, the database is locked as soon as the block is entered.
        """
        return self.settings_dict["OPTIONS"].get("transaction_mode") in (None, "DEFERRED")

    def _can_wait(self) -> bool:
        return bool(
            not self.in_atomic_block
            and self.settings_dict["AUTOCOMMIT"]
            and self.may_begin_late()
            and (self._informed_by or self.database_pool) is not None
        )

    def get_autocommit(self) -> bool:
        if self.connection is None:
            refuse_coroutines()
            if self.in_atomic_block:  # not begun yet, or closed before its end
                return self.autocommit
            if self._can_wait():
                return True
        return super().get_autocommit()

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        # Only the outermost atomic() forces.  Other code that switches autocommit off gets a
        # connection at once.
        is_atomic = force_begin_transaction_with_broken_autocommit
        wanted = autocommit or is_atomic
        if self.connection is None and wanted:
            self.validate_no_atomic_block()
            refuse_coroutines()
            if self._begins_late or self._can_wait():
                if autocommit:
                    self._end_unbegun()
                else:
                    self._begin_late()
                return
        super().set_autocommit(autocommit, is_atomic)

    @contextmanager
    def temporary_connection(self) -> Iterator[Any]:
        # Django's method closes a connection that it opened.  Inside a block, that would end
        # the block.
        if self._begins_late:
            self.ensure_connection()
        with super().temporary_connection() as cursor:
            yield cursor

    def close_if_unusable_or_obsolete(self) -> None:
        # The exit of a block failed, in a coroutine.  Django closes a connection whose
        # autocommit is off.  Without this, the next request would write into the block.
        if self._begins_late and not self.in_atomic_block:
            self.close()
        super().close_if_unusable_or_obsolete()

    def _begin_late(self) -> None:
        self._can_resume = False
        self.forget_block()
        self.run_on_commit = []
        self.autocommit = False
        self._begins_late = True
        note_wrapper(self)

    def _end_unbegun(self) -> None:
        self._begins_late = False
        self.autocommit = True
        if self.run_commit_hooks_on_set_autocommit_on:
            self.run_and_clear_commit_hooks()
            self.run_commit_hooks_on_set_autocommit_on = False

    def forget_block(self) -> None:
        """Clear what an earlier connection left on the wrapper, as connecting does."""
        self.in_atomic_block = False
        self.savepoint_ids = []
        self.atomic_blocks = []
        self.needs_rollback = False
        self.closed_in_transaction = False
        self.errors_occurred = False
        self.run_commit_hooks_on_set_autocommit_on = False

    @contextmanager
    def _block_set_aside(self) -> Iterator[None]:
        """Let the caller connect as if outside the block, then begin the block's transaction.

        If either fails, the transaction still has not begun, and the next statement tries
        again.
        """
        block = {name: getattr(self, name) for name in BLOCK}
        self._begins_late = False
        try:
            yield
            self.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
        except BaseException:
            self.close()
            self._begins_late = True
            raise
        finally:
            vars(self).update(block)
