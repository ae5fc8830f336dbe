"""Counts what each request really ran, and where, and says so in two response headers.

    X-Db-Reads: replica1=2, default=1
    X-Db-Writes: default=1

The counts are of statements that reached a cursor of that alias, so they prove what the router
only promises. The demo sums them; the tests assert them.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

READ, WRITE = "X-Db-Reads", "X-Db-Writes"
# Transaction control, SET and the like are neither. A WITH that writes is not told apart; the
# ORM makes none.
KINDS = {
    **dict.fromkeys(("SELECT", "WITH", "VALUES"), READ),
    **dict.fromkeys(("INSERT", "UPDATE", "DELETE", "REPLACE"), WRITE),
}
FIRST_WORD = re.compile(r"[\s(]*(\w+)")

Statements = Counter[tuple[str, str]]  # (header, alias) -> how many

# Holds a mutable counter: under ASGI the ORM runs in other threads, with a copy of the context,
# where a value set anew would be lost and one changed in place is seen.
_counter: ContextVar[Statements | None] = ContextVar("statements", default=None)


@receiver(connection_created)
def watch(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Install the wrapper on each connection object once, in whatever thread it lives.

    First in the list, not through `connection.execute_wrapper()`: that is a stack, and a block
    in whose middle the connection opens would pop our wrapper instead of its own.
    """
    if count not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, count)


def count(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict) -> Any:
    """An execute wrapper (see Django's "Database instrumentation")."""
    counter = _counter.get()
    if counter is not None and (kind := kind_of(sql)):
        counter[kind, context["connection"].alias] += 1
    return execute(sql, params, many, context)


def kind_of(sql: Any) -> str | None:
    """READ, WRITE or None, judged by the statement's first word."""
    word = FIRST_WORD.match(str(sql))
    return KINDS.get(word[1].upper()) if word else None


@contextmanager
def counting() -> Iterator[Statements]:
    token = _counter.set(counter := Counter())
    try:
        yield counter
    finally:
        _counter.reset(token)


def add_headers(response: HttpResponse, counter: Statements) -> HttpResponse:
    for header in (READ, WRITE):
        shares = [f"{alias}={n}" for (kind, alias), n in sorted(counter.items()) if kind == header]
        if shares:
            response[header] = ", ".join(shares)
    return response


@sync_and_async_middleware
def trace_statements(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponse:
            with counting() as counter:
                return add_headers(await get_response(request), counter)
    else:

        def middleware(request: HttpRequest) -> HttpResponse:
            with counting() as counter:
                return add_headers(get_response(request), counter)

    return middleware
