"""What makes a Django database backend a pooled one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.utils import DEFAULT_DB_ALIAS, InterfaceError, OperationalError
from django.utils.asyncio import async_unsafe
from django.utils.functional import cached_property

from .. import failover
from ..errors import PoolError
from ..registry import Handle, registry
from ..servers import HANGS
from ..statements import stand_in
from . import threads
from .connector import DjangoConnector
from .demotion import ErrorWatch, clear_if_demoted
from .driver import Driver

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as _Base

    from ..database_pool import DatabasePool
    from ..pooling import Lease, PoolConfig
else:
    _Base = object


class PooledCreation:
    """Closes idle connections where a test database is made, copied or dropped.

    Each of these needs that nobody is connected, be it under this alias or under that of
    a replica which the tests point at the same database.
    """

    connection: PooledDatabaseWrapper

    def _create_test_db(self, *args: Any, **kwargs: Any) -> Any:
        registry.dispose_all()
        return super()._create_test_db(*args, **kwargs)  # type: ignore[misc]

    def _clone_test_db(self, *args: Any, **kwargs: Any) -> Any:
        registry.dispose_all()
        return super()._clone_test_db(*args, **kwargs)  # type: ignore[misc]

    def _destroy_test_db(self, *args: Any, **kwargs: Any) -> Any:
        registry.dispose_all()
        return super()._destroy_test_db(*args, **kwargs)  # type: ignore[misc]

    def set_as_test_mirror(self, primary_settings_dict: dict[str, Any]) -> None:
        """Point a replica at its primary's server, not only at the database of that name.

        A real replica would have the test database a little later than the tests, and so
        each of their rows.
        """
        super().set_as_test_mirror(primary_settings_dict)  # type: ignore[misc]
        for key in ("HOST", "PORT", "USER", "PASSWORD"):
            self.connection.settings_dict[key] = primary_settings_dict[key]


class PooledDatabaseWrapper(_Base):
    """Stand before a backend's DatabaseWrapper: its connections come from a pool.

    ``class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper): pass`` is a whole
    backend.  Django sees the raw driver connection in ``connection``; checkout happens
    where Django connects, checkin where it closes.
    """

    driver_class: type[Driver] = Driver
    pool_facts: tuple[str, ...] = ()
    """Attributes of a wrapper that opening a connection sets, the same for all of a pool."""
    parameters_are_facts = False
    """Whether ``pool_facts`` has all that ``get_connection_params()`` sets on a wrapper, so
    that a checkout can do without."""
    pool_parameters: dict[str, Any] = {}
    """Parameters of the driver for a pool's connections, where the settings have none."""
    connect_timeout_option = ""
    """The driver's parameter for the longest wait for a connection, in whole seconds."""
    pooled = True

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        self._handle: Handle | None = None
        self._lease: Lease | None = None
        self._informed_by: DatabasePool | None = None
        self._connecting_to: DatabasePool | None = None
        self._is_set_up = False
        self._is_checking = False
        self.was_refused = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        stock = cls.creation_class
        if not issubclass(stock, PooledCreation):
            cls.creation_class = type(stock.__name__, (PooledCreation, stock), {})

    @property
    def database_pool(self) -> DatabasePool | None:
        """The pool that this wrapper's settings call for; None if they call for none.

        Raises:
            ImproperlyConfigured: the settings are wrong.

        """
        if not self.pooled:
            return None
        handle = self._handle
        if handle is None or not handle.fits(self.settings_dict):
            handle = self._handle = registry.handle_for(self)
        return handle.pool

    def make_connector(self, settings: dict[str, Any], config: PoolConfig) -> DjangoConnector:
        """Return what opens connections for this wrapper's pool."""
        return DjangoConnector(type(self), self.alias, settings, config)

    def can_be_pooled(self) -> bool:
        """Tell whether it is a database of its own, and not Django's way to the server."""
        return self.settings_dict["NAME"] is not None and self.alias != NO_DB_ALIAS

    def close_pool(self) -> None:
        """Close idle connections and forget the pool; the next use opens a fresh one.

        The name is Django's: Celery and Django's own code call it where it exists.
        """
        registry.dispose(self.alias)

    def forget_lease(self) -> None:
        """In a forked child: drop what belongs to the parent."""
        if self._lease is None:
            return
        self.connection = None
        self._lease = self._handle = None
        if self.in_atomic_block:
            self.closed_in_transaction = self.needs_rollback = True

    def give_back_at_thread_end(self) -> None:
        """Check in what a thread that ends here left open, unless others share the wrapper."""
        if self._lease is not None and not self.allow_thread_sharing:
            if self.in_atomic_block:
                self.closed_in_transaction = self.needs_rollback = True
            self._give_back(self._lease)

    def __del__(self) -> None:
        # A copy that was dropped without close().  Perhaps the garbage collector runs this,
        # within code that holds the pool's lock: so it only leaves a note.
        lease = self.__dict__.get("_lease")
        if lease is not None:
            lease.pool.give_up(lease)

    # -- where Django connects and closes ------------------------------------------------

    def connect(self) -> None:
        self._connecting_to = self.database_pool
        began = time.monotonic()
        try:
            super().connect()
        except (OperationalError, InterfaceError) as error:
            if not isinstance(error, PoolError):
                hangs = time.monotonic() - began >= HANGS
                failover.eject(self.alias, error, hangs=hangs)
            raise
        finally:
            self._connecting_to = None

    def _cursor(self, name: str | None = None) -> Any:
        try:
            return super()._cursor(name)  # type: ignore[misc]  # not in the stubs
        except (OperationalError, InterfaceError) as error:
            lost = stand_in(self, name, error)
            if lost is None:
                raise
        return self._prepare_cursor(lost)  # type: ignore[attr-defined]

    def get_connection_params(self) -> dict[str, Any]:
        known = self._connecting_to is not None and self._connecting_to is self._informed_by
        if known and self.parameters_are_facts:
            return {}
        parameters: dict[str, Any] = super().get_connection_params()
        parameters.pop("pool", None)
        return parameters

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        pool = self._connecting_to or self.database_pool
        if pool is None:
            failover.begin_connect(self.alias)
            return super().get_new_connection(conn_params)
        if self._lease is not None:
            # Somebody set wrapper.connection to None without closing it: the backend
            # of SQL Server does, after a failure.
            self._give_back(self._lease)
        lease = self._lease = pool.checkout()
        if self._informed_by is not pool:
            self._informed_by = pool
            threads.watch(self)
            self.__dict__.update(pool.facts)
        self._is_set_up = True
        return lease.connection

    def _set_autocommit(self, autocommit: bool) -> None:
        # A connection comes out of the pool in autocommit.
        if not (autocommit and self._is_set_up and self._connecting_to is not None):
            super()._set_autocommit(autocommit)  # type: ignore[misc]  # not in the stubs

    def init_connection_state(self) -> None:
        # connect() calls this after each checkout, but it was done when the connection
        # was opened, and would cost a round trip each time.
        if self._is_set_up:
            self._is_set_up = False
        else:
            super().init_connection_state()

    def _close(self) -> None:
        if self._lease is None:
            super()._close()  # type: ignore[misc]  # not in the stubs
        else:
            self._give_back(self._lease)

    def _give_back(self, lease: Lease) -> None:
        # A failed health check closes; and whoever put another connection in the place of
        # ours knew why.
        broken = self._is_checking or self.connection is not lease.connection
        # Leave the connection first: inside atomic() Django goes on with wrapper.connection,
        # and by then another thread may hold it.
        self.connection = self._lease = None
        try:
            if self.was_refused and not broken:
                clear_if_demoted(self, lease)
            self.was_refused = False
        finally:
            lease.pool.checkin(lease, broken=broken)

    @cached_property
    def wrap_database_errors(self) -> ErrorWatch:
        return ErrorWatch(self)

    def close_if_health_check_failed(self) -> None:
        self._is_checking = True
        try:
            super().close_if_health_check_failed()
        finally:
            self._is_checking = False

    def is_usable(self) -> bool:
        return self.connection is not None and super().is_usable()
