"""Opens pooled connections as Django does, but independently of any thread's wrapper."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from django.db import OperationalError

from ... import conf
from ...drivers.driver import Driver
from ...drivers.facts import ServerFacts, ServerSession
from ...drivers.session import Session
from ...pooling import NoReset, PoolConfig
from ...statements import failover
from .state import WrapperState


class DjangoConnector:
    """Opens, pings, resets and closes a pool's connections through the driver.

    It makes a separate wrapper to open each connection.  So the pool depends on no thread's
    wrapper, and each connect reads the parameters again: a rotated password takes effect
    with the next connection.

    Args:
        wrapper_class: the backend's DatabaseWrapper.
        alias: the alias of the database.
        settings: the settings of the database.  ``Registry.handle_for`` replaces them when
            they change.
        config: the configuration of the pool.

    """

    def __init__(
        self,
        wrapper_class: type[WrapperState],
        alias: str,
        settings: Mapping[str, Any],
        config: PoolConfig,
    ) -> None:
        self.settings = settings
        self.facts: dict[str, Any] = {}
        """Attributes that Django sets once for each wrapper, often by asking the server.  The
        pool gets them once and copies them to each wrapper."""
        self._wrapper_class = wrapper_class
        self._alias = alias
        # Wait less for a replica: another server can answer in its place.
        is_replica = conf.replica(alias) is not None
        patience = config.ping_timeout if is_replica else config.pool_timeout
        self._connect_timeout = max(2, math.ceil(patience))
        driver: Driver = wrapper_class.driver_class()
        # The pool calls these for each lease.  Methods that wrap them would cost time.
        self.ping = self._ping_replica if is_replica else driver.ping
        self.fileno = driver.fileno
        self.backend_id = driver.backend_id
        self.close = driver.close
        self.abandon = driver.abandon
        self._driver = driver
        self._configure = conf.load(config.configure, "configure") if config.configure else None
        self.tells_session = driver.tells_session
        self._listens = driver.tells_session and config.reset != "rollback"
        self.reset = self._choose_reset(config.reset)

    def open(self) -> Any:
        """Return a new connection in autocommit with Django's session settings."""
        wrapper = self._wrapper()
        try:
            wrapper.connection = wrapper.get_new_connection(self._parameters(wrapper))
            with self._driver.time_limit(wrapper.connection, self._connect_timeout):
                self._set_up(wrapper)
            self._driver.adopt(wrapper.connection, self._new_session(wrapper.connection))
        except BaseException as error:
            with suppress(Exception):  # closed already
                wrapper.close()
            if isinstance(error, TimeoutError):  # ours, and callers expect a database error
                raise OperationalError(str(error)) from error
            raise
        connection, wrapper.connection = wrapper.connection, None
        return connection

    def _new_session(self, connection: Any) -> Session | None:
        if not self._listens:
            return None
        wrapper = self._wrapper_class
        reported = self._driver.reported(connection)
        return Session(wrapper.vendor, frozenset(wrapper.own_settings), reported)

    def _set_up(self, wrapper: WrapperState) -> None:
        self._set_up_session(wrapper)
        for name in (*self._driver.facts, *wrapper.pool_facts):
            if hasattr(wrapper, name):  # a backend of another package may lack it
                self.facts[name] = getattr(wrapper, name)

    def _set_up_session(self, wrapper: WrapperState) -> None:
        """Send what each new session needs."""
        wrapper.set_autocommit(True)
        wrapper.init_connection_state()
        if self._configure is not None:
            self._configure(wrapper.connection)
            self._driver.rollback(wrapper.connection)

    def inspect(self, connection: Any, timeout: float) -> ServerFacts:
        """Ask the server for its facts.  See ``Driver.inspect`` and ``Driver.time_limit``."""
        with self._driver.time_limit(connection, timeout):
            return self._driver.inspect(connection)

    def sessions(self, connection: Any, timeout: float) -> dict[int, ServerSession] | None:
        """Ask what the server's sessions do.  See ``Driver.sessions`` and ``time_limit``."""
        with self._driver.time_limit(connection, timeout):
            return self._driver.sessions(connection)

    def _ping_replica(self, connection: Any, timeout: float) -> bool:
        """Ping a replica, and eject it if it does not answer in time."""
        began = time.monotonic()
        answered = self._driver.ping(connection, timeout)
        if not answered and time.monotonic() - began >= timeout:
            failover.eject(self._alias, f"no answer to a ping within {timeout:g} s", hangs=True)
        return answered

    def _wrapper(self) -> WrapperState:
        wrapper = self._wrapper_class(dict(self.settings), self._alias)
        wrapper.pooled = False
        return wrapper

    def _parameters(self, wrapper: WrapperState) -> dict[str, Any]:
        parameters = {**self._driver.parameters, **wrapper.get_connection_params()}
        if self._driver.connect_timeout_option:
            parameters.setdefault(self._driver.connect_timeout_option, self._connect_timeout)
        return parameters

    def _choose_reset(self, how: str | Callable[[Any], object]) -> Callable[[Any], str | None]:
        rollback = self._driver.rollback
        end_lease = self._driver.end_lease
        if how == "rollback" or (how == "auto" and not self._driver.tells_session):
            return rollback
        custom = None if how in ("auto", "session") else conf.load(how, "reset")

        def reset_if_marked(connection: Any) -> str | None:
            rollback(connection)
            mark = end_lease(connection)
            if mark is None:
                return None
            self.renew(connection, mark.kind)
            return mark.kind

        def reset_always(connection: Any) -> str | None:
            self._driver.require_socket(connection)
            rollback(connection)
            mark = end_lease(connection)
            kind = mark.kind if mark else ""
            if custom is None:
                self.renew(connection, kind)
            else:
                custom(connection)
                rollback(connection)
                self._note_renewed(connection)
            return kind

        return reset_if_marked if how == "auto" else reset_always

    def renew(self, connection: Any, mark: str = "") -> None:
        """Make the session as if just opened; the connection has no open transaction.

        Raises:
            NoReset: only a new connection is.

        """
        self._driver.require_socket(connection)
        wrapper = self._wrapper()
        vars(wrapper).update(self.facts)
        try:
            self._driver.reset_session(connection, lambda: with_password(self._parameters(wrapper)))
        except NoReset as error:
            error.mark = mark
            raise
        wrapper.connection = connection
        self._set_up_session(wrapper)
        wrapper.connection = None
        self._note_renewed(connection)

    def _note_renewed(self, connection: Any) -> None:
        session: Session | None = getattr(connection, "session", None)
        if session is not None:
            session.renew(self._driver.reported(connection))


def with_password(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a driver's parameters, with a callable password replaced by its result.

    Such a callable usually gets a token that expires, from the client of a cloud or a vault.
    """
    passwords = {
        name: parameters[name]()
        for name in ("password", "passwd")
        if callable(parameters.get(name))
    }
    return {**parameters, **passwords}
