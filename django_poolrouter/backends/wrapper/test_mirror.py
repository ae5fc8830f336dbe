"""Replicas in a project's tests, where each is a mirror of its primary's test database.

``TestCase`` wraps each test in a transaction on the primary.  Another connection cannot see
into that transaction, and on SQLite it cannot get past its locks.  So during a ``TestCase``,
a mirror uses the connection that its primary has in the same thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.backends.signals import connection_created

from ...conf import TEST_MIRROR
from ...process.registry import registry
from ...statements.recorder import record_statements
from .state import WrapperState

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def _of_primary(verb: str) -> Any:
    """Return a method that does nothing while the wrapper uses its primary's connection."""

    def method(self: Mirror, *args: Any) -> None:
        if not self._borrows:
            getattr(super(Mirror, self), verb)(*args)

    return method


class Mirror(WrapperState):
    """Lets a wrapper use its primary's connection while it is a test mirror.

    Transactions on the mirror are part of its primary's.  The mirror itself begins, commits and
    rolls back nothing.  On any other wrapper, this class changes nothing.
    """

    # Not in ensure_connection(): Django's tests and other packages replace it.
    def _cursor(self, name: str | None = None) -> Any:
        self.follow_primary()
        return super()._cursor(name)  # type: ignore[misc]  # not in the stubs

    def follow_primary(self) -> None:
        """Use the primary's connection if this is a mirror and a ``TestCase`` runs."""
        if TEST_MIRROR not in self.settings_dict:
            return
        primary = self._primary_in_testcase()
        if primary is None:
            if self._borrows:
                self._close()
            return
        primary.ensure_connection()
        if self.connection is not primary.connection:
            self._close()
            self.connection, self._borrows = primary.connection, True
            self._begins_late = self._can_resume = False
            # A transaction that is open on the mirror continues as part of the primary's.
            self.autocommit = not self.in_atomic_block
            record_statements(self)
            connection_created.send(sender=self.__class__, connection=self)

    def _primary_in_testcase(self) -> BaseDatabaseWrapper | None:
        cluster = registry.topology.cluster_of_replica(self.alias)
        if cluster is None:
            return None
        primary = connections[cluster.primary]
        blocks = primary.atomic_blocks
        return primary if blocks and blocks[0]._from_testcase else None  # type: ignore[attr-defined]

    def _close(self) -> None:
        if self._borrows:
            self.connection, self._borrows = None, False
        else:
            super()._close()  # type: ignore[misc]  # not in the stubs

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        if self.connection is not None:
            self.follow_primary()
        force = force_begin_transaction_with_broken_autocommit and not self._borrows
        super().set_autocommit(autocommit, force)

    _set_autocommit = _of_primary("_set_autocommit")
    _commit = _of_primary("_commit")
    _rollback = _of_primary("_rollback")
    _savepoint = _of_primary("_savepoint")
    _savepoint_rollback = _of_primary("_savepoint_rollback")
    _savepoint_commit = _of_primary("_savepoint_commit")
