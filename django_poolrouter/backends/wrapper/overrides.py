"""Finds the methods of Django that other code replaces, so that a pooled wrapper runs them.

A pooled wrapper ends a lease where stock Django closes a connection.  Other code counts on those
places: django-tenants forgets in ``close()`` what it has SET, and sentry-sdk patches ``connect()``
to time it.  ``Overrides`` says which methods a class overrides.  The wrapper runs them once for
each lease, and stock classes do not pay for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

CONNECT, CLOSE, DROP = HOOKS = ("connect", "close", "_close")
# Packages with a pool of their own, which would lend our connections to other callers.
OTHER_POOLS = (
    "dj_db_conn_pool",
    "django_db_geventpool",
    "django_postgrespool2",
    "django_psdb_engine",
)
# One of these must be called by a connect() that a pool can stand behind.
WAYS_TO_CONNECT = {"connect", "get_new_connection"}


@dataclass(frozen=True, slots=True)
class Overrides:
    """The methods of one class that are not Django's and not ours."""

    base_connect: Any
    """Django's ``connect`` when this was found.  Tools patch it, perhaps later on."""
    connect_is_patched: bool
    """A tool wants to see what connecting costs."""
    connect: bool
    """A class overrides ``connect()``: it runs for each lease."""
    connect_behind: bool
    """... behind the mixin, so that only the mixin can run it."""
    close: bool
    """A class overrides ``close()`` or ``_close()``: they run at early ends too."""
    close_behind: bool
    drop_behind: bool
    """``_close()`` behind the mixin."""


NOT_LOOKED_FOR = Overrides(None, *[False] * 6)


def overrides_of(wrapper: type, mixin: type) -> Overrides:
    """Return what a class overrides; found again after a tool has patched Django."""
    base = BaseDatabaseWrapper
    return _overrides_of(wrapper, mixin, base.connect, base.close, base._close)  # type: ignore[attr-defined]


@lru_cache(maxsize=128)
def _overrides_of(wrapper: type, mixin: type, connect: Any, close: Any, drop: Any) -> Overrides:
    behind = wrapper.__mro__.index(mixin)
    found = {name: list(_foreign(wrapper, name)) for name in HOOKS}
    return Overrides(
        base_connect=connect,
        connect_is_patched=not _is_known(connect),
        # A patch of Django's own connect() is a tool's, and need not see idle connections.
        connect=any(kind is not BaseDatabaseWrapper for kind, _ in found[CONNECT]),
        connect_behind=any(
            wrapper.__mro__.index(kind) > behind and kind is not BaseDatabaseWrapper
            for kind, _ in found[CONNECT]
        ),
        close=bool(found[CLOSE] or found[DROP]),
        close_behind=any(wrapper.__mro__.index(kind) > behind for kind, _ in found[CLOSE]),
        drop_behind=any(wrapper.__mro__.index(kind) > behind for kind, _ in found[DROP]),
    )


def refusals(wrapper: type, mixin: type) -> Iterator[str]:
    """Say why a class cannot be pooled, a sentence each."""
    for kind in wrapper.__mro__:
        package = kind.__module__.partition(".")[0]
        if package in OTHER_POOLS:
            yield f"{kind.__module__} has a pool of its own. Put the mixin before a stock backend."
            return
    for name in HOOKS:
        for kind, method in _foreign(wrapper, name):
            where = f"{kind.__module__}.{kind.__qualname__}.{name}"
            if not callable(method) or isinstance(method, (staticmethod, classmethod)):
                yield f"{where} is not a method, so the pool cannot run it."
            elif inspect.iscoroutinefunction(method):
                yield f"{where} is a coroutine function, so the pool cannot run it."
            elif (
                name == CONNECT and kind is not BaseDatabaseWrapper and not _leads_to_django(method)
            ):
                # What a tool or a test's mock puts in place of Django's method leads to it.
                yield (
                    f"{where} opens the connection itself, so the pool cannot. Let connect() call "
                    "super().connect(), and open connections in get_new_connection()."
                )


def _foreign(wrapper: type, name: str) -> Iterator[tuple[type, Any]]:
    for kind in wrapper.__mro__:
        method = vars(kind).get(name)
        if method is not None and not _is_known(method):
            yield kind, method


def _is_known(method: Any) -> bool:
    """Tell whether a method is Django's or ours, and no tool has wrapped it.

    ``functools.wraps`` copies names, so look at the module whose globals the code uses.
    """
    while type(method) is FunctionType:
        package = str(method.__globals__.get("__name__", "")).partition(".")[0]
        if package not in ("django", "django_poolrouter"):
            return False
        if not hasattr(method, "__wrapped__"):
            return True
        method = method.__wrapped__
    return False


def _leads_to_django(method: Any) -> bool:
    """Tell whether a connect() may call Django's, by the names in its code; in doubt it does."""
    code = getattr(inspect.unwrap(method), "__code__", None)
    if code is None or code.co_freevars not in ((), ("__class__",)):
        return True
    return not WAYS_TO_CONNECT.isdisjoint(code.co_names)


@contextmanager
def opened_before(wrapper: Any, get_new_connection: Callable[[Any], Any]) -> Iterator[None]:
    """Let a block run Django's ``connect()`` for a connection that the pool has opened before.

    Django's method calls three others to open and set up a connection.  Meanwhile ours stand in
    for them on this wrapper, and win over those of its class.
    """

    def set_autocommit(autocommit: bool) -> None:
        if not autocommit:
            type(wrapper).set_autocommit(wrapper, autocommit)

    stand_ins = {
        "get_new_connection": get_new_connection,
        "set_autocommit": set_autocommit,
        "init_connection_state": lambda: None,
    }
    own = {name: vars(wrapper)[name] for name in stand_ins if name in vars(wrapper)}
    vars(wrapper).update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del vars(wrapper)[name]
        vars(wrapper).update(own)


class _KeptOpen:
    """Stands in for a raw connection that ``close()`` must not close."""

    def __init__(self, connection: Any) -> None:
        vars(self)["_connection"] = connection

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._connection)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._connection, name, value)

    def close(self) -> None:
        """Leave it to the pool."""


@contextmanager
def kept_open(wrapper: Any) -> Iterator[None]:
    """Let a block run ``_close()`` of the classes behind the mixin, down to Django's.

    An override finds the connection open, as it does with Django.  But Django's method then closes
    the connection, and this one belongs to the pool.
    """
    connection = wrapper.connection
    wrapper.connection = stand_in = None if connection is None else _KeptOpen(connection)
    try:
        yield
    finally:
        # An override may have put another connection in its place, and the pool must know.
        if wrapper.connection is stand_in or wrapper.connection is None:
            wrapper.connection = connection
