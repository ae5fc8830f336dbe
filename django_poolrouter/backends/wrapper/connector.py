"""Opens pooled connections the way Django opens them, apart from any thread's wrapper."""

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
from ...pooling import PoolConfig
from ...statements import failover
from .state import WrapperState


class DjangoConnector:
    """The pool's door to the driver.

    Each connection is opened by a wrapper made for that purpose alone, so that the pool
    is bound to no thread's wrapper, and so that parameters are read anew: a rotated
    password counts from the next connection on.

    Args:
        wrapper_class: the backend.
        alias: of the database.
        settings: of the database; replaced when they change (see ``Registry.handle_for``).
        config: of the pool.

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
        """What Django asks the server once for each wrapper, asked once for the pool."""
        self._wrapper_class = wrapper_class
        self._alias = alias
        # Instead of a replica another server can answer.
        is_replica = conf.replica(alias) is not None
        patience = config.ping_timeout if is_replica else config.pool_timeout
        self._connect_timeout = max(2, math.ceil(patience))
        driver: Driver = wrapper_class.driver_class()
        # The pool calls these at each use, so without a layer in between.
        self.ping = self._ping_replica if is_replica else driver.ping
        self.fileno = driver.fileno
        self.backend_id = driver.backend_id
        self.close = driver.close
        self.abandon = driver.abandon
        self._driver = driver
        self.reset = self._choose_reset(config.reset)

    def open(self) -> Any:
        """Return a new connection in autocommit with Django's session settings."""
        wrapper = self._wrapper()
        try:
            wrapper.connection = wrapper.get_new_connection(self._parameters(wrapper))
            with self._driver.time_limit(wrapper.connection, self._connect_timeout):
                self._set_up(wrapper)
            self._driver.adopt(wrapper.connection)
        except BaseException as error:
            with suppress(Exception):  # closed already
                wrapper.close()
            if isinstance(error, TimeoutError):  # which the drivers have no word for
                raise OperationalError(str(error)) from error
            raise
        connection, wrapper.connection = wrapper.connection, None
        return connection

    def _set_up(self, wrapper: WrapperState) -> None:
        wrapper.set_autocommit(True)
        wrapper.init_connection_state()
        for name in wrapper.pool_facts:
            self.facts[name] = getattr(wrapper, name)

    def inspect(self, connection: Any, timeout: float) -> ServerFacts:
        """Ask the server who it is; see ``Driver.inspect`` and ``Driver.time_limit``."""
        with self._driver.time_limit(connection, timeout):
            return self._driver.inspect(connection)

    def sessions(self, connection: Any, timeout: float) -> dict[int, ServerSession] | None:
        """Ask the server what its sessions do; see ``Driver.sessions`` and ``time_limit``."""
        with self._driver.time_limit(connection, timeout):
            return self._driver.sessions(connection)

    def _ping_replica(self, connection: Any, timeout: float) -> bool:
        """Ping, and have a replica that does not answer left alone."""
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
        parameters = {**wrapper.pool_parameters, **wrapper.get_connection_params()}
        if wrapper.connect_timeout_option:
            parameters.setdefault(wrapper.connect_timeout_option, self._connect_timeout)
        return parameters

    def _choose_reset(self, how: str | Callable[[Any], object]) -> Callable[[Any], None]:
        if how == "rollback":
            return self._driver.rollback
        if how == "session":
            return self._reset_session
        custom = conf.load(how, "reset")

        def reset(connection: Any) -> None:
            self._driver.rollback(connection)
            custom(connection)
            self._driver.rollback(connection)

        return reset

    def _reset_session(self, connection: Any) -> None:
        self._driver.rollback(connection)
        wrapper = self._wrapper()
        vars(wrapper).update(self.facts)
        self._driver.reset_session(connection, lambda: with_password(self._parameters(wrapper)))
        wrapper.connection = connection
        wrapper.set_autocommit(True)
        wrapper.init_connection_state()
        wrapper.connection = None


def with_password(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a driver's parameters with the password that a callable tells.

    That is a token that expires, from a cloud's or a vault's client.
    """
    told = {
        name: parameters[name]()
        for name in ("password", "passwd")
        if callable(parameters.get(name))
    }
    return {**parameters, **told}
