"""The class that gives a Django database backend its pool."""

from __future__ import annotations

import time
from threading import get_ident
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.db.utils import InterfaceError, OperationalError
from django.utils.asyncio import async_unsafe
from django.utils.functional import cached_property

from .. import conf
from ..errors import refuse_coroutines
from ..process.registry import registry
from ..process.replication_logs import HANGS
from ..statements import failover
from ..statements.recorder import record_calls, record_statements, stand_in
from .wrapper import thread_end
from .wrapper.connector import DjangoConnector, with_password
from .wrapper.cursors import LeasedCursors
from .wrapper.demotion import ErrorWatch, clear_if_demoted
from .wrapper.greeting import Greeting
from .wrapper.late_transaction import LateTransaction
from .wrapper.moved_block import MovedBlock
from .wrapper.overrides import kept_open, opened_before, overrides_of, refusals
from .wrapper.recipe import complete
from .wrapper.test_mirror import Mirror

if TYPE_CHECKING:
    from ..pooling import Lease, PoolConfig
    from ..process.database_pool import DatabasePool


class PooledDatabaseWrapper(MovedBlock, Mirror, LateTransaction, LeasedCursors, Greeting):
    """Give a backend's DatabaseWrapper connections from a pool.

    ``class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper): pass`` is a complete
    backend.  Django sees the raw connection in ``connection``, as usual.  Checkout happens
    where Django connects, and checkin where it closes.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        complete(cls)

    @property
    def database_pool(self) -> DatabasePool | None:
        """The pool for this wrapper's settings, or None if they ask for no pool.

        Raises:
            ImproperlyConfigured: the settings are wrong.

        """
        if not self.pooled:
            return None
        handle = self._handle
        if handle is None or not handle.fits(self.settings_dict):
            handle = self._handle = registry.handle_for(self)
        return handle.pool

    @classmethod
    def refusals(cls) -> list[str]:
        """Return why this class cannot be pooled, a sentence each."""
        return list(refusals(cls, PooledDatabaseWrapper))

    def make_connector(self, settings: dict[str, Any], config: PoolConfig) -> DjangoConnector:
        """Return the connector that opens connections for this wrapper's pool.

        Raises:
            ConfigError: the class cannot be pooled.

        """
        conf.check_backend(self.alias, type(self))
        return DjangoConnector(type(self), self.alias, settings, config)

    def can_be_pooled(self, settings: dict[str, Any]) -> bool:
        """Tell whether this is a real database, and not Django's no-database connection.

        An in-memory database of SQLite is gone when its connection closes.
        """
        if settings["NAME"] is None or self.alias == NO_DB_ALIAS:
            return False
        is_in_memory = getattr(self.creation, "is_in_memory_db", None)
        return is_in_memory is None or not is_in_memory(settings["NAME"])

    def ensure_timezone(self) -> bool:
        """Replace all connections, so that they use the time zone that Django's tests set."""
        registry.dispose(self.alias)  # not close_pool(): it does nothing in forked children
        return bool(super().ensure_timezone())

    def close_pool(self) -> None:
        """Close idle connections and forget the pool.  In a forked child, do nothing.

        Django's own pool does not survive a fork, so Django has a method with this name, and
        Celery calls it before it forks and around each task in its children.  Our children
        have pools of their own already.  ``DatabasePool.dispose()`` works in every process.
        """
        if not registry.is_forked:
            registry.dispose(self.alias)

    def forget_lease(self) -> None:
        """In a forked child, drop the lease and its cursors: they belong to the parent."""
        self._can_resume = False
        if self._lease is None:
            return
        self.connection = None
        self._lease = self._handle = None
        self._forget_cursors()
        if self.in_atomic_block:
            self.closed_in_transaction = self.needs_rollback = True
        if self._overrides.close:
            self._close_early()

    def give_back_at_thread_end(self) -> None:
        """Check in the lease of a thread that ends, unless other threads share the wrapper."""
        if self._lease is not None and not self.allow_thread_sharing:
            if self.in_atomic_block:
                self.closed_in_transaction = self.needs_rollback = True
            self._give_back(self._lease)

    def __del__(self) -> None:
        # A wrapper was dropped without close().  The garbage collector may run this inside
        # code that holds the pool's lock, so only leave the lease for a later checkin.
        lease = self.__dict__.get("_lease")
        if lease is not None:
            lease.pool.give_up(lease)

    # -- where Django connects and closes ------------------------------------------------

    @async_unsafe
    def connect(self) -> None:
        """Take a connection from the pool instead of opening one.

        This changes the wrapper as Django's method does, but does not repeat its queries.  They
        ran when the connection was opened, and each would cost a round trip.
        """
        self.follow_primary()
        if self._borrows:
            return
        if self._begins_late:
            with self._block_set_aside():
                self._connect()
        else:
            self._connect()

    def _connect(self) -> None:
        self._can_resume = False
        pool = self.database_pool
        if pool is None:
            record_statements(self)
            super().connect()
            return
        self.check_settings()
        if self._lease is not None:
            # Some code set wrapper.connection to None without closing it.  The SQL Server
            # backend does so after a failure.
            self.close()
        self._look_for_patches()
        self.forget_block()
        if self._overrides.connect_behind:
            self._connect_through_django(pool)
            return
        settings = self.settings_dict
        self.health_check_enabled = settings["CONN_HEALTH_CHECKS"]
        self.health_check_done = True
        max_age, now = settings["CONN_MAX_AGE"], time.monotonic()
        self.close_at = None if max_age is None else now + max_age
        lease = self._checkout(pool, now)
        if lease is None:
            self._connect_through_django(pool)
            return
        self._busy += 1
        try:
            self._take(lease, pool)
            if not settings["AUTOCOMMIT"]:
                self.set_autocommit(False)
            self._greet(pool)
        finally:
            self._busy -= 1
        self.run_on_commit = []

    def _look_for_patches(self) -> None:
        """Look for overrides if that was not done yet, or if a tool has patched Django since."""
        if self._overrides.base_connect is not BaseDatabaseWrapper.connect:
            self._overrides = overrides_of(type(self), PooledDatabaseWrapper)

    def _take(self, lease: Lease, pool: DatabasePool) -> None:
        self._lease = lease
        self.connection = lease.connection
        self.autocommit = True
        if self._informed_by is not pool:
            self._inform(pool)

    def _connect_through_django(self, pool: DatabasePool) -> None:
        """Check out within Django's ``connect()``, so that overrides and patches of it run."""

        def get_new_connection(conn_params: dict[str, Any]) -> Any:
            self._take(self._wait_for_lease(pool, time.monotonic()), pool)
            self._begin_greeting()
            return self.connection

        self._busy += 1
        try:
            with opened_before(self, get_new_connection), self._greeting(pool):
                super().connect()
        finally:
            self._busy -= 1
        if self._lease is None:
            raise ImproperlyConfigured(
                f"connect() of {type(self)!r} did not call super().connect(), so {self.alias!r} "
                "cannot be pooled."
            )

    def _resume(self) -> bool:
        """Check out again after a lease ended early.  Return False if only ``connect`` can.

        The rest of connecting costs as much as the checkout.  It was done earlier in this request,
        and every event that would undo it also clears ``_can_resume``.
        """
        handle = self._handle
        if handle is None or handle.pool is None or not handle.fits(self.settings_dict):
            return False
        self._look_for_patches()
        with self.wrap_database_errors:
            lease = self._checkout(handle.pool, time.monotonic())
        if lease is None:
            return False
        self._lease = lease
        self.connection = lease.connection
        self._greet(handle.pool)
        return True

    def _checkout(self, pool: DatabasePool, began: float) -> Lease | None:
        """Return a lease.  Return None if a tool wants to see the wait for it."""
        if self._overrides.connect_is_patched:
            return pool.checkout_idle()
        return self._wait_for_lease(pool, began)

    def _wait_for_lease(self, pool: DatabasePool, began: float) -> Lease:
        try:
            return pool.checkout()
        except self.Database.Error as error:  # type: ignore[attr-defined]  # not in the stubs
            failover.eject(self.alias, error, hangs=time.monotonic() - began >= HANGS)
            raise

    def _inform(self, pool: DatabasePool) -> None:
        """Set the attributes that opening a connection would set on this wrapper."""
        thread_end.watch(self)
        record_statements(self)
        if not self.parameters_are_facts:
            self.get_connection_params()
        vars(self).update(pool.facts)
        if pool.config is not None:
            self._holds_per_transaction = pool.config.hold == "transaction"
            self._keeps_marked = pool.config.reset != "rollback"
        self._informed_by = pool

    def _cursor(self, name: str | None = None) -> Any:
        try:
            cursor = super()._cursor(name)
        except (OperationalError, InterfaceError) as error:
            lost = stand_in(self, name, error)
            if lost is None:
                raise
            cursor = self._prepare_cursor(lost)
        else:
            if name is not None:
                self.driver_class().watch_cursor(cursor.cursor)
        if self.execute_wrappers:
            record_calls(cursor)
        return cursor

    def get_connection_params(self) -> dict[str, Any]:
        parameters: dict[str, Any] = super().get_connection_params()
        parameters.pop("pool", None)
        return parameters

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        failover.begin_connect(self.alias)
        return super().get_new_connection(with_password(conn_params))

    def init_connection_state(self) -> None:
        super().init_connection_state()
        if conf.is_read_only(self.alias, self.settings_dict):
            self.driver_class().forbid_writes(self.connection)

    @async_unsafe
    def close(self) -> None:
        self._can_resume = False
        if self._lease is None and not self._begins_late:
            super().close()
            return
        if self._thread_ident != get_ident():
            self.validate_thread_sharing()
        try:
            if self._overrides.close_behind:
                super().close()
        finally:
            self._end_lease()

    def _end_lease(self) -> None:
        self.run_on_commit = []
        try:
            if self._lease is not None:
                self._close()
        finally:
            self._begins_late = False
            if self.in_atomic_block:
                self.closed_in_transaction = self.needs_rollback = True

    def _close(self) -> None:
        lease = self._lease
        if lease is None:
            super()._close()
            return
        try:
            if self._overrides.drop_behind:
                with kept_open(self):
                    super()._close()
        finally:
            self._give_back(lease)

    def _give_back(self, lease: Lease) -> None:
        # A connection that failed its health check is broken.  If other code replaced our
        # connection on the wrapper, assume that it had a reason, and close ours too.
        broken = self._is_broken or self.connection is not lease.connection
        # Take the connection off the wrapper first.  Inside atomic(), Django keeps using
        # wrapper.connection, and another thread may have the connection by then.
        self.connection = self._lease = None
        try:
            if self._cursors or self._holders:
                self._close_cursors(lease.connection)
            if self.was_refused and not broken:
                clear_if_demoted(self, lease)
            self.was_refused = False
        except Exception:
            broken = True
        except BaseException:
            broken = True
            raise
        finally:
            lease.pool.checkin(lease, broken=broken)

    @cached_property
    def wrap_database_errors(self) -> ErrorWatch:
        return ErrorWatch(self)

    def close_if_unusable_or_obsolete(self) -> None:
        if self._can_resume or self.in_atomic_block:  # Django has a connection then
            refuse_coroutines()
        self._can_resume = False  # the request is over
        if self._lease is None or self.close_at is None or time.monotonic() < self.close_at:
            super().close_if_unusable_or_obsolete()
        elif self.errors_occurred and self.autocommit and not self.is_usable():
            self._close_broken()
        else:
            self.close()

    def close_if_health_check_failed(self) -> None:
        if self.connection is None or not self.health_check_enabled or self.health_check_done:
            return
        if not self.is_usable():
            self._close_broken()
        self.health_check_done = True

    def _close_broken(self) -> None:
        self._is_broken = True
        try:
            self.close()
        finally:
            self._is_broken = False

    def is_usable(self) -> bool:
        return self.connection is not None and super().is_usable()
