"""MySQL and MariaDB, pooled."""

from __future__ import annotations

from typing import Any

from django.db.backends.mysql import base
from django.db.backends.utils import debug_transaction
from django.utils.functional import cached_property

from ..mixin import PooledDatabaseWrapper
from .driver import MySQLDriver

__all__ = ["DatabaseWrapper", "MySQLDriver"]


class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper):
    """Django's MySQL backend with a pool."""

    driver_class = MySQLDriver
    parameters_are_facts = True
    _is_atomic = False

    @cached_property
    def mysql_server_data(self) -> dict[str, Any]:
        """The pool's copy, so that new wrappers (under ASGI: each request) ask no server."""
        facts = self.database_pool.facts if self.database_pool else {}
        return facts.get("mysql_server_data") or super().mysql_server_data

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
        # Only the outermost atomic() forces.  Code that switches autocommit off itself also
        # commits itself.
        self._is_atomic = force_begin_transaction_with_broken_autocommit and not autocommit

    def _commit(self) -> None:
        """Commit.  At the end of the outermost atomic(), send SET autocommit=1 instead of COMMIT.

        Django sends SET autocommit=1 next anyway, and it commits the open transaction.  So a
        COMMIT before it wastes a round trip.  To begin with BEGIN instead of SET autocommit=0
        would save another one.  But after a deadlock or DDL inside the block, the server would
        then commit the rest of the block statement by statement.

        Only COMMIT ends what SET TRANSACTION said for one transaction.  So a marked lease sends
        both, as Django does.
        """
        # If a block's connection was closed before its end, _is_atomic is still set, but
        # autocommit is on.
        ends_block = self._is_atomic and not self.autocommit
        has_connection = self._lease is not None and self.connection is not None
        if ends_block and has_connection and not self._is_marked():
            with debug_transaction(self, "COMMIT"), self.wrap_database_errors:
                self.connection.autocommit(True)
        else:
            super()._commit()
