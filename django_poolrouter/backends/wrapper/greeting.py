"""Runs the receivers of ``connection_created``, and undoes what they sent for another user.

Receivers run at each checkout, and many of them change the session.  As long as they send the same
each time, a connection can keep what they have set.  But they may depend on the user: then the
session is cleared, and they run again before the caller can use the connection.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from django.db.backends.signals import connection_created

from .state import WrapperState

if TYPE_CHECKING:
    from ...pooling import Lease
    from ...process.database_pool import DatabasePool


class Greeting(WrapperState):
    """Sends ``connection_created`` for a lease that this wrapper has just taken."""

    def _greet(self, pool: DatabasePool) -> None:
        # Without receivers now, there may have been some at the connection's last checkout.
        if not connection_created.receivers and not self._is_greeted():
            return
        self._busy += 1  # else a lease may end early after a receiver's cursor
        try:
            with self._greeting(pool):
                connection_created.send(sender=self.__class__, connection=self)
        finally:
            self._busy -= 1

    def _is_greeted(self) -> bool:
        session = self._session
        return session is not None and session.is_greeted

    @contextmanager
    def _greeting(self, pool: DatabasePool) -> Iterator[None]:
        """Let a block send the signal; send it again on a cleared session if need be.

        If a receiver fails, give the connection back.  It may have what receivers sent for another
        user, and the caller may swallow the error and go on.
        """
        self._begin_greeting()
        try:
            yield
            while not self._end_greeting():
                self._clear_session(pool)
                self._begin_greeting()
                connection_created.send(sender=self.__class__, connection=self)
        except BaseException:
            if (session := self._session) is not None:
                session.break_greeting()
                self.close()
            raise

    def _begin_greeting(self) -> None:
        if (session := self._session) is not None:
            session.begin_greeting()

    def _end_greeting(self) -> bool:
        session = self._session
        if session is None:
            return True
        return session.end_greeting(partial(self.driver_class().reported, self.connection))

    def _clear_session(self, pool: DatabasePool) -> None:
        """Clear the session, or take another connection if only that is clean."""
        lease = self._lease
        assert lease is not None
        autocommit = self.settings_dict["AUTOCOMMIT"]
        self.driver_class().rollback(lease.connection)
        if not lease.pool.renew(lease):
            self._take_another(lease, pool)
        if not autocommit:
            self.set_autocommit(False)

    def _take_another(self, lease: Lease, pool: DatabasePool) -> None:
        self._give_back(lease)
        self._lease = lease = self._wait_for_lease(pool, time.monotonic())
        self.connection = lease.connection
        self.autocommit = True
