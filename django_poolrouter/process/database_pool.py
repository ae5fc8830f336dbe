"""The pool of one database alias, as user code sees it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from django.db import Error, connections, transaction

from .. import pooling, signals
from ..errors import PoolExhausted, PoolTimeout, in_one_line, public, refuse_coroutines
from ..pooling import Connector, Lease, Page, Pool, PoolConfig, PoolStatus
from ..pooling.entry import Entry
from ..pooling.lifecycle import nothing
from ..routing import scope
from .answers import answer_within

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from ..drivers.facts import ServerFacts, ServerSession

logger = logging.getLogger("django_poolrouter.pool")

STATUS_KEYS = ("size", "max", "open", "checkedin", "checkedout", "overflow", "waiting")

T = TypeVar("T")
MakePage = Callable[["DatabasePool", PoolConfig], Page]
PoolsOfAlias = Callable[[str], "list[DatabasePool]"]


class ServerConnector(Connector, Protocol):
    """The connector of a pool of Django connections; the backends implement it."""

    settings: Mapping[str, Any]
    """The current settings of the database."""
    tells_session: bool
    """Whether it knows what the users of a connection leave in its session."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Facts that Django would ask the server for in each wrapper, asked once for the pool."""

    def inspect(self, connection: Any, timeout: float) -> ServerFacts:
        """Ask the server about itself."""

    def sessions(self, connection: Any, timeout: float) -> dict[int, ServerSession] | None:
        """Return what the server's sessions do; None if it does not say."""


class DatabasePool:
    """The pool of one alias in this process; it opens no connection before it is used.

    An alias that is not pooled has a DatabasePool too.  Its counts are 0, and its
    ``connection()`` and ``session()`` use Django's connection.
    """

    def __init__(
        self,
        alias: str,
        vendor: str,
        config: PoolConfig | None = None,
        connector: ServerConnector | None = None,
        make_page: MakePage | None = None,
        look_after: Callable[[Pool], object] = nothing,
        pools_of: PoolsOfAlias = lambda alias: [],
    ) -> None:
        """Make the pool of ``alias``; user code gets it from ``pools`` instead."""
        self.alias = alias
        self.vendor = vendor
        self.config = config
        self.connector = connector
        self._make_page = make_page
        self._look_after = look_after
        self._pools_of = pools_of
        # Guards the three fields below; the pool has its own lock.
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        # The same pool while the housekeeper watches it, else None.  Callers take this one, so
        # that a single test shows whether the pool is open and watched.
        self._watched_pool: Pool | None = None
        self._closed: list[tuple[Pool, Page]] = []
        self._question_turn = threading.Lock()  # see ``answers.answer_within``

    def __repr__(self) -> str:
        return f"<DatabasePool {self.alias!r} {self._pool or 'not open'}>"

    @property
    def is_pooled(self) -> bool:
        """Tell whether connections of this alias are pooled."""
        return self.connector is not None

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the server said about itself, so that each wrapper need not ask again."""
        return self.connector.facts if self.connector else {}

    @property
    def is_in_use(self) -> bool:
        """Whether connections are leased, being opened or waited for."""
        status = self.status()
        return bool(status.checkedout or status.opening or status.waiting)

    # -- figures -----------------------------------------------------------------------

    def status(self) -> PoolStatus:
        """Return a frozen snapshot of the pool's figures."""
        pool = self._pool
        return pool.status() if pool else PoolStatus.unopened(self.config)

    def get_pool_status(self) -> dict[str, int]:
        """Return size, max, open, checkedin, checkedout, overflow and waiting."""
        status = self.status()
        return {key: getattr(status, key) for key in STATUS_KEYS}

    # -- use ----------------------------------------------------------------------------

    def checkout(self, timeout: float | None = None) -> Lease:
        """Return a lease; give it back with ``lease.pool.checkin(lease)``.

        ``connection()`` is safer, because it always does that.

        Raises:
            PoolTimeout: no connection was available in time.
            PoolExhausted: ``max_waiting`` callers already wait.
            PoolClosed: the pool was disposed of while the caller waited.
            Exception: the driver's error, if a connection could not be opened.

        """
        while True:
            pool = self._watched_pool or self._open_pool()
            try:
                return pool.checkout(timeout)
            except pooling.PoolClosed as error:
                if error.while_waiting or pool is self._pool:
                    raise public(error) from error.__cause__
                # Disposed of between these two lines: use the next pool.
            except pooling.PoolError as error:
                public_error = public(error)
                if isinstance(public_error, PoolTimeout | PoolExhausted):
                    signals.pool_exhausted.send_robust(
                        DatabasePool, alias=self.alias, pool=self, error=public_error
                    )
                raise public_error from error.__cause__

    def checkout_idle(self) -> Lease | None:
        """Return a lease if an idle connection works; None if a caller would have to wait."""
        pool = self._watched_pool
        return pool.checkout_idle() if pool else None

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[Any]:
        """Lend a raw DB-API connection in autocommit; a transaction left open is rolled back.

        Nothing of what receivers of ``connection_created`` have sent is there.

        Args:
            timeout: longest wait in seconds; ``pool_timeout`` by default.

        Raises:
            PoolError: no connection was available (see ``checkout``).
            django.db.Error: the database refused a new connection.
            SynchronousOnlyOperation: called in a coroutine, whose event loop would wait.

        """
        refuse_coroutines()
        with self.lend(timeout, neutral=True) as raw:
            yield raw

    @contextmanager
    def lend(self, timeout: float | None = None, *, neutral: bool = False) -> Iterator[Any]:
        """Lend a connection as ``connection`` does, in a coroutine too: for short questions.

        Args:
            timeout: longest wait in seconds; ``pool_timeout`` by default.
            neutral: whether the session must be without what receivers and the backend sent for
                another user.  A wrapper has them send it again, but here they do not run.

        """
        if not self.is_pooled:
            with self._borrowed() as wrapper:
                autocommit = wrapper.get_autocommit()
                try:
                    yield wrapper.connection
                finally:
                    if autocommit and not wrapper.in_atomic_block:
                        with suppress(Error):  # Django notices a dead connection later
                            wrapper.rollback()
            return
        with connections[self.alias].wrap_database_errors:
            lease = self._checkout_neutral(timeout) if neutral else self.checkout(timeout)
        try:
            yield lease.connection
        finally:
            lease.pool.checkin(lease)

    def _checkout_neutral(self, timeout: float | None) -> Lease:
        while True:
            lease = self.checkout(timeout)
            session = getattr(lease.connection, "session", None)
            is_broken = False
            try:
                if session is None or session.is_neutral or lease.pool.renew(lease):
                    return lease
            except Exception:
                is_broken = True
            except BaseException:
                lease.pool.checkin(lease, broken=True)
                raise
            lease.pool.checkin(lease, broken=is_broken)

    @contextmanager
    def session(self) -> Iterator[BaseDatabaseWrapper]:
        """Run a block in ``transaction.atomic`` on this thread's Django connection.

        If the thread had no connection yet, the one that it takes is given back at the end.
        """
        with self._borrowed() as wrapper, transaction.atomic(using=self.alias):
            yield wrapper

    def execute(
        self, sql: str, params: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Execute one statement on this thread's Django connection and return its rows.

        Placeholders are Django's (``%s``) on every database.
        """
        with self._borrowed() as wrapper, wrapper.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall()) if cursor.description else []

    def ping(self, timeout: float) -> None:
        """Ping the server on a connection of the pool.

        Raises:
            PoolError: no connection was available within ``timeout`` seconds, or the
                server did not answer.
            django.db.Error: the database refused a new connection.

        """
        if self.connector is None:
            with scope():  # in a scope where no read was routed, the query goes to this very server
                self.execute("SELECT 1")
            return
        refuse_coroutines()
        with self.lend(timeout) as raw:
            if not self.connector.ping(raw, timeout):
                raise PoolTimeout(f"the server of {self.alias!r} did not answer a ping")

    def answer_within(self, timeout: float, question: Callable[[float], T]) -> T:
        """Ask a question about this pool in a separate thread and return its answer.

        Args:
            timeout: seconds for the whole call.
            question: called with its time limit in seconds; it must keep to it.

        Raises:
            PoolTimeout: there was no answer in time.
            Exception: the error that the question raised.

        """
        name = f"poolrouter-asks-{self.alias}"
        return answer_within(timeout, question, turn=self._question_turn, name=name)

    # -- end -----------------------------------------------------------------------------

    def note_unsafe_read(self) -> None:
        """Count a read that ran here only because its request was not safe."""
        pool = self._pool
        if pool is not None:
            pool.note_unsafe_read()

    def clear(self) -> None:
        """Replace every connection of the alias: idle ones now, leased ones at checkin.

        An alias has several pools if its settings were changed in place, or those of a wrapper.
        """
        for pool in self._all_of_alias():
            pool.clear_alone()

    def dispose(self) -> None:
        """Close every pool of the alias: idle connections now, leased ones at checkin.

        Callers that wait get PoolClosed.  The next use opens a fresh pool.
        """
        for pool in self._all_of_alias():
            pool.dispose_alone()

    def clear_alone(self) -> None:
        """Replace the connections of this pool, and not those of others of the alias."""
        if self._pool is not None:
            self._pool.clear()

    def dispose_alone(self) -> None:
        """Close this pool, and no others of the alias."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._watched_pool = None
            if pool is None:
                return
            self._closed.append((pool, pool.page))
        pool.close()

    def unwatch(self) -> None:
        """Note that the housekeeper stops watching; the next checkout has it watch again."""
        self._watched_pool = None

    def abandon(self) -> None:
        """Make all connections harmless in a forked child; takes no lock."""
        self._lock = threading.Lock()
        self._question_turn = threading.Lock()
        pools = [pool for pool, _ in self._closed]
        for pool in [*pools, self._pool] if self._pool else pools:
            pool.abandon()

    # -- details ---------------------------------------------------------------------------

    def _all_of_alias(self) -> Iterable[DatabasePool]:
        """Return this pool too, should it be one of the process that this one was forked from."""
        return dict.fromkeys((self, *self._pools_of(self.alias)))

    def _open_pool(self) -> Pool:
        if self.config is None or self.connector is None:
            raise RuntimeError(f"bug: {self.alias!r} is not pooled")
        with self._lock:
            pool = self._pool
            if pool is None:
                pool = self._pool = Pool(
                    self.alias,
                    self.config,
                    self.connector,
                    self._page(self.config),
                    on_open=self._look_after,
                    on_lost=self._note_loss,
                )
            self._watched_pool = pool
        self._look_after(pool)
        return pool

    def _note_loss(self, entry: Entry) -> None:
        logger.info("pool %s: the connection of session %s is lost", self.alias, entry.backend)
        signals.connection_lost.send_robust(
            DatabasePool, alias=self.alias, pool=self, backend=entry.backend
        )

    def _page(self, config: PoolConfig) -> Page:
        """Return the page of a closed pool that has no connections left, or a new page."""
        for closed in self._closed:
            if closed[0].is_empty:
                self._closed.remove(closed)
                return closed[1]
        return self._make_page(self, config) if self._make_page else Page.private(config.max)

    @contextmanager
    def _borrowed(self) -> Iterator[BaseDatabaseWrapper]:
        """Lend this thread's Django connection; close it afterwards if it was not open before."""
        wrapper = connections[self.alias]
        # An atomic block may have no connection before it begins its transaction, and needs it
        # from then on.
        was_open = wrapper.connection is not None or wrapper.in_atomic_block
        try:
            yield wrapper
        finally:
            if not was_open:
                wrapper.close()


def describe(error: BaseException, pool: DatabasePool | None) -> str:
    """Return an error's message on one line, without the database's password."""
    text = in_one_line(error)
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
    settings = pool.connector.settings if pool and pool.connector else {}
    options = settings.get("OPTIONS", {})
    for password in (settings.get("PASSWORD"), options.get("password"), options.get("passwd")):
        if isinstance(password, str) and len(password) > 2:
            text = text.replace(password, "********")
    return text
