"""The life of a pool's connections: opens, tests and closes them.

All slow work on a connection happens here, outside the lock of the state.  An entry that was
removed from the state counts against the pool's maximum until its connection is closed, because
the server counts it until then.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable
from typing import Any

from . import counters
from .connector import Connector
from .descriptors import Descriptor, OwnDescriptor, keep_forever, silent_descriptor
from .entry import CLEARED, Entry, Lender, news_probe
from .errors import PoolClosed
from .grants import PoolState

logger = logging.getLogger("django_poolrouter.pool")

# Each lifetime is shortened by up to this share.  Otherwise connections that were opened
# together would all be replaced together.
JITTER = 0.05
SECOND = 1_000_000_000
NEVER = sys.maxsize


class Lifecycle:
    """The life of the entries of one pool.

    Args:
        lender: the pool that lends them.
        state: the pool's state, which has its options too.
        connector: the interface to the driver.
        clock: returns the monotonic time in nanoseconds.
        on_open: called after each successful connect.
        on_lost: called with each entry whose connection was found dead or came back broken.

    """

    def __init__(
        self,
        lender: Lender,
        state: PoolState,
        connector: Connector,
        clock: Callable[[], int],
        on_open: Callable[[], object],
        on_lost: Callable[[Entry], object],
    ) -> None:
        self._lender = lender
        self._state = state
        self._config = config = state.config
        self._connector = connector
        self._clock = clock
        self._on_open = on_open
        self._on_lost = on_lost
        self._silent: OwnDescriptor | None = None  # see _descriptor_of
        self.ping_after = ns(config.ping_after) if config.pool_pre_ping else NEVER

    def open(self) -> Entry:
        """Open a connection; this uses up the caller's permit even if it fails.

        Raises:
            PoolClosed: the pool was closed in the meantime.
            Exception: the driver's error.

        """
        generation = self._state.generation
        try:
            connection = self._connector.open()
            try:
                descriptor = self._descriptor_of(connection)
                backend = self._connector.backend_id(connection)
            except BaseException:
                self._close(connection)
                raise
        except BaseException as error:
            self._state.note_failed_open(error)
            raise
        now = self._clock()
        entry = Entry(
            connection,
            self._lender,
            generation=generation,
            created=now,
            expires=now + self._lifetime(),
            has_news=news_probe(descriptor.number if descriptor else None),
            descriptor=descriptor,
            backend=backend,
        )
        self._state.add(entry)
        if self._state.closed:
            self.retire(entry)
            message = f"pool {self._lender.name!r} was closed while a connection was opened"
            raise PoolClosed(message, while_waiting=True)
        try:
            self._on_open()
        except BaseException:
            self.retire(entry)
            raise
        return entry

    def _descriptor_of(self, connection: Any) -> Descriptor | None:
        """Return the descriptor that shows whether the connection's descriptors were closed.

        A driver may not tell its own: SQLite has several.  Then it is one of the pool's own.
        Code that closes descriptors that it did not open closes this one as well.
        """
        number = self._connector.fileno(connection)
        if number is not None:
            return Descriptor(number)
        if self._silent is None or not self._silent.is_intact:
            self._silent = silent_descriptor()
        return self._silent

    def _lifetime(self) -> int:
        if self._config.pool_recycle is None:
            return NEVER
        return int(ns(self._config.pool_recycle) * (1 - JITTER * random.random()))  # noqa: S311

    def fault(self, entry: Entry, now: int) -> int:
        """Return which counter counts the entry's fault, or 0 if the entry may be lent."""
        if now >= entry.expires:
            return why_expired(entry)
        try:
            if now - entry.used < self.ping_after and not (entry.has_news and entry.has_news(0)):
                return 0
            if not self._lost_descriptor(entry) and self._connector.ping(
                entry.connection, self._config.ping_timeout
            ):
                return 0
            # A dead connection is rarely the only one: clear all that are not newer.
            self._state.clear(entry.generation)
            self.sweep()
        except BaseException:
            self.retire(entry, counters.LOST)
            raise
        return counters.LOST

    def retire(self, entry: Entry, fault: int = 0) -> None:
        """Close an entry, and let a waiter open a connection in its place.

        Args:
            entry: neither idle nor granted to a waiter.
            fault: the counter for the reason, or 0.

        """
        self._state.remove(entry, fault)
        self.end(entry, fault)

    def end(self, entry: Entry, fault: int = 0) -> None:
        """Close an entry that was removed from the state; call ``on_lost`` if it was lost."""
        try:
            if fault == counters.LOST:
                self._on_lost(entry)
        finally:
            try:
                self._shut(entry)
            finally:
                self._state.note_closed()

    def abandon(self, entry: Entry) -> None:
        """Make the parent's connection harmless in a forked child; send nothing on it."""
        if self._lost_descriptor(entry):
            keep_forever(entry.connection)
        else:
            self._connector.abandon(entry.connection)

    def sweep(self) -> None:
        """Close idle entries that were cleared."""
        for entry in self._state.take_idle(lambda entry: entry.expires == CLEARED):
            self.retire(entry, counters.CLEARED)

    def close_idle(self) -> None:
        """Close idle entries that were idle for ``max_idle`` or are too old."""
        config = self._config
        now = self._clock()
        max_idle = ns(config.max_idle) if config.max_idle else NEVER
        spare = len(self._state.idle) - config.min_idle

        def unwanted(entry: Entry) -> bool:
            nonlocal spare
            spare -= 1
            return now >= entry.expires or (spare >= 0 and now - entry.used >= max_idle)

        for entry in self._state.take_idle(unwanted):
            self.retire(entry, counters.RECYCLED)

    def _lost_descriptor(self, entry: Entry) -> bool:
        """Tell whether other code closed the connection's descriptor.

        Its number may lead to another file by now, and the driver does not know that.
        """
        descriptor = entry.descriptor
        if descriptor is None or descriptor.is_intact:
            return False
        try:
            number = self._connector.fileno(entry.connection)
        except Exception:  # the driver closed it
            return False
        return number is None or number == descriptor.number

    def _shut(self, entry: Entry) -> None:
        if self._lost_descriptor(entry):
            logger.info(
                "pool %s: other code closed the descriptor of a connection", self._lender.name
            )
            # Closed, the driver would say good-bye to the file that has the number now, and close
            # it.  With no such file, closing is harmless.  It is needed: mysqlclient goes on to
            # tell a number that it closed itself, when the server ended the session.
            own = isinstance(entry.descriptor, OwnDescriptor)
            if own or not (entry.descriptor and entry.descriptor.is_free):
                keep_forever(entry.connection)
                return
        self._close(entry.connection)

    def _close(self, connection: Any) -> None:
        try:
            self._connector.close(connection)
        except Exception:
            name = self._lender.name
            logger.debug("pool %s: closing a connection failed", name, exc_info=True)


def nothing(*args: object) -> None:
    """Do nothing; the default of callbacks."""


def why_expired(entry: Entry) -> int:
    """Return the counter for why an expired entry must not be lent again."""
    return counters.CLEARED if entry.expires == CLEARED else counters.RECYCLED


def ns(seconds: float) -> int:
    """Return a duration in nanoseconds."""
    return int(min(seconds * SECOND, NEVER))
