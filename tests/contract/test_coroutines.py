"""In a coroutine every call raises what it raises on Django's own backend, at the same place.

Django refuses to use a connection where an event loop runs: what is awaited within
``atomic()`` would run on another thread, in a transaction of its own or in none.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import close_old_connections, connection, connections, transaction
from django.utils.functional import cached_property

from django_poolrouter import pools
from tests.conftest import Vendor
from tests.contract.numbers import SMALL, create_table, insert, select

STOCK = {
    "sqlite": "django.db.backends.sqlite3",
    "postgresql": "django.db.backends.postgresql",
    "mariadb": "django.db.backends.mysql",
}


class Undo(Exception):
    """Ends the block around a case, with a rollback."""


# -- the states that a coroutine may find ------------------------------------------------------


@contextmanager
def as_it_is(*before: Callable[[], object]) -> Iterator[None]:
    for step in before:
        step()
    yield


@contextmanager
def in_a_block(*before: Callable[[], object]) -> Iterator[None]:
    with suppress(Undo), transaction.atomic():
        for step in before:
            step()
        yield
        raise Undo


def query() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def manual() -> None:
    transaction.set_autocommit(False)


def connect() -> None:
    connection.ensure_connection()


def close() -> None:
    connection.close()


STATES: Mapping[str, Callable[[], Any]] = {
    "never connected": as_it_is,
    "connected": lambda: as_it_is(connect),
    "used": lambda: as_it_is(query),
    "closed": lambda: as_it_is(query, close),
    "autocommit off": lambda: as_it_is(manual),
    "in a late block": in_a_block,
    "in a late block, closed": lambda: in_a_block(close),
    "in a begun block": lambda: in_a_block(query),
    "in a begun block, closed": lambda: in_a_block(query, close),
}

# -- what is called in them ----------------------------------------------------------------


def raw_cursor() -> Any:
    """Stands for a driver's cursor, which making a Django cursor only keeps."""
    return object()


def sid() -> str:
    return "s1_x1"


# What methods of the stock wrappers need, as functions.  A method that is new in Django and
# needs an argument fails the test until it stands here.
ARGUMENTS: Mapping[str, tuple[Callable[[], Any], ...]] = {
    "execute_wrapper": (lambda: lambda execute, *rest: execute(*rest),),
    "get_new_connection": (lambda: connection.get_connection_params(),),
    "make_cursor": (raw_cursor,),
    "make_debug_cursor": (raw_cursor,),
    "on_commit": (lambda: lambda: write_elsewhere(),),
    "savepoint_commit": (sid,),
    "savepoint_rollback": (sid,),
    "set_autocommit": (lambda: False,),
    "set_rollback": (lambda: True,),
    "tzinfo_factory": (lambda: 0,),
}
# What the stock wrapper of one kind has in its class, and is no method.
NO_METHODS = (type, str, bytes, int, float, dict, tuple, list, set, frozenset, type(None))


def cases_of_wrapper(stock: type[Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Return a call for each public method of a wrapper, and the read of each property."""
    for name in dir(stock):
        value = inspect.getattr_static(stock, name)
        if name.startswith("_") or isinstance(value, NO_METHODS) or inspect.ismodule(value):
            continue
        if isinstance(value, property | cached_property):
            yield f"connection.{name}", lambda name=name: getattr(connection, name)
            continue
        method = getattr(stock, name)
        assert callable(method), f"{name} is neither a method nor a property"
        needed = [
            parameter.name
            for parameter in list(inspect.signature(method).parameters.values())[1:]
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        arguments = ARGUMENTS.get(name, ())
        assert len(needed) == len(arguments), f"what to call {name} with, which wants {needed}?"
        yield (
            f"connection.{name}()",
            lambda name=name, arguments=arguments: getattr(connection, name)(
                *(argument() for argument in arguments)
            ),
        )


MORE_CASES: Mapping[str, Callable[[], Any]] = {
    "connection.set_autocommit(True)": lambda: connection.set_autocommit(True),
    "connection.set_autocommit(False, True)": lambda: connection.set_autocommit(False, True),
    "connection.on_commit(robust=True)": lambda: connection.on_commit(write_elsewhere, robust=True),
    "connection.copy('other')": lambda: connection.copy("other"),
    "connection.schema_editor(atomic=False)": lambda: connection.schema_editor(atomic=False),
    "connection.schema_editor(collect_sql=True)": lambda: connection.schema_editor(
        collect_sql=True
    ),
    "connection.schema_editor(collect_sql=True, atomic=False)": lambda: connection.schema_editor(
        collect_sql=True, atomic=False
    ),
    "connection._nodb_cursor()": lambda: connection._nodb_cursor(),
    "connection._cursor()": lambda: connection._cursor(),
    "atomic()": lambda: transaction.atomic(),
    "atomic('default')": lambda: transaction.atomic("default"),
    "atomic(savepoint=False)": lambda: transaction.atomic(savepoint=False),
    "atomic(durable=True)": lambda: transaction.atomic(durable=True),
    "atomic(function)()": lambda: transaction.atomic(write_elsewhere)(),
    "atomic(coroutine function)()": lambda: transaction.atomic(awrite_elsewhere)(),
    "transaction.get_autocommit()": lambda: transaction.get_autocommit(),
    "transaction.set_autocommit(False)": lambda: transaction.set_autocommit(False),
    "transaction.set_autocommit(True)": lambda: transaction.set_autocommit(True),
    "transaction.commit()": lambda: transaction.commit(),
    "transaction.rollback()": lambda: transaction.rollback(),
    "transaction.savepoint()": lambda: transaction.savepoint(),
    "transaction.clean_savepoints()": lambda: transaction.clean_savepoints(),
    "transaction.get_rollback()": lambda: transaction.get_rollback(),
    "transaction.on_commit()": lambda: transaction.on_commit(write_elsewhere),
    "mark_for_rollback_on_error()": lambda: transaction.mark_for_rollback_on_error(),
    "close_old_connections()": lambda: close_old_connections(),
    "connections.close_all()": lambda: connections.close_all(),
    "pools[].session()": lambda: pools["default"].session(),
    "pools.session()": lambda: pools.session("default"),
    "pools[].connection()": lambda: pools["default"].connection(),
    "pools[].execute()": lambda: pools["default"].execute("INSERT INTO numbers VALUES (8)"),
}


# -- what happens ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of one case."""

    place: str
    """Where it ended: at the call, at the entry, in the body, at the exit, or nowhere."""
    error: str
    rows: tuple[int, ...]
    """What the table has afterwards."""
    block: tuple[Any, ...]
    """The state of the block on the wrapper."""

    def __str__(self) -> str:
        return f"{self.error[:40] or 'no error'} at {self.place}, {self.rows}, {self.block}"


def write_elsewhere() -> None:
    """Insert a row as ``sync_to_async`` does: on another thread, with its own connection."""
    failures: list[BaseException] = []

    def insert() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO numbers VALUES (1)")
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=insert)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


async def awrite_elsewhere() -> None:
    write_elsewhere()


async def go_through(wrapper: Any, case: Callable[[], Any], way: str) -> tuple[str, str]:
    """Use what a call returns in one way; return where that ended, and with which error."""
    # Django would make another wrapper here, as for each context of an event loop.
    connections["default"] = wrapper
    place = "call"
    try:
        result = case()
        try:
            if inspect.isawaitable(result):
                await result
            elif way == "decorator":
                place = "decorated call"
                await result(awrite_elsewhere)()
            elif way == "with":
                place = "entry"
                result.__enter__()
                place = "body"
                write_elsewhere()
                place = "exit"
                result.__exit__(None, None, None)
        finally:
            let_go(result)
    except Exception as error:
        return place, f"{type(error).__name__}: {error}"
    return "", ""


def let_go(result: Any) -> None:
    """Close the driver's connection that a call opened."""
    if type(result).__module__.split(".")[0] in ("psycopg", "MySQLdb", "sqlite3"):
        result.close()


def block_of(wrapper: Any) -> tuple[Any, ...]:
    return (
        wrapper.in_atomic_block,
        len(wrapper.atomic_blocks),
        wrapper.savepoint_ids,
        wrapper.needs_rollback,
        wrapper.closed_in_transaction,
        len(wrapper.run_on_commit),
        wrapper.run_commit_hooks_on_set_autocommit_on,
    )


def outcome(state: str, case: Callable[[], Any], way: str) -> Outcome:
    with suppress(AttributeError):  # there is no wrapper
        del connections["default"]
    wrapper = connections["default"]
    with STATES[state]():
        place, error = asyncio.run(go_through(wrapper, case, way))
        block = block_of(wrapper)
    connection.close()
    return Outcome(place, error, rows_and_clear(), block)


def rows_and_clear() -> tuple[int, ...]:
    """Return what is in the table, and empty it."""
    with connections["watcher"].cursor() as cursor:
        cursor.execute("SELECT n FROM numbers ORDER BY n")
        rows = tuple(n for (n,) in cursor.fetchall())
        if rows:
            cursor.execute("DELETE FROM numbers")
    return rows


def all_outcomes(stock: type[Any], state: str) -> dict[str, Outcome]:
    """Try each call in each way that makes sense for it."""
    found = {}
    for name, case in (*cases_of_wrapper(stock), *MORE_CASES.items()):
        for way in ("bare", "with", "decorator"):
            if way == "bare" or name in WAYS[way]:
                found[f"{name}, {way}"] = outcome(state, case, way)
    return found


# As what a call can be used, besides bare.
CONTEXT_MANAGERS = frozenset(
    {
        "atomic()",
        "atomic('default')",
        "atomic(durable=True)",
        "atomic(savepoint=False)",
        "connection._nodb_cursor()",
        "connection.constraint_checks_disabled()",
        "connection.execute_wrapper()",
        "connection.temporary_connection()",
        "mark_for_rollback_on_error()",
        "pools.session()",
        "pools[].connection()",
        "pools[].session()",
    }
)
WAYS = {
    "decorator": CONTEXT_MANAGERS,
    "with": CONTEXT_MANAGERS
    | {
        "connection._cursor()",
        "connection.chunked_cursor()",
        "connection.cursor()",
        "connection.schema_editor()",
        "connection.schema_editor(atomic=False)",
        "connection.schema_editor(collect_sql=True)",
        "connection.schema_editor(collect_sql=True, atomic=False)",
    },
}


# Calls that write nothing, and end in another way for a reason.
DIFFERENT = (
    # The pool has asked the server already.
    "connection.check_database_version_supported()",
    "connection.data_type_check_constraints",
    "connection.data_types",
    "connection.display_name",
    "connection.get_database_version()",
    "connection.mysql_is_mariadb",
    "connection.mysql_server_data",
    "connection.mysql_server_info",
    "connection.mysql_version",
    "connection.pg_version",
    "connection.sql_mode",
    # Django calls these with a connection, and here there is none: a block takes it late, and
    # gives it back when it is closed.
    "connection.create_cursor()",
    "connection.ensure_timezone()",
    "connection.init_connection_state()",
    "connection.is_usable()",
)


@pytest.fixture(scope="module")
def known_of_stock() -> dict[tuple[str, str], dict[str, Outcome]]:
    """What the stock backends do, by kind and state: found out once for both holds."""
    return {}


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize(
    ("vendor", "hold"),
    [
        ("sqlite", "request"),
        ("sqlite", "transaction"),
        ("postgresql", "request"),
        ("postgresql", "transaction"),
        ("mariadb", "transaction"),
    ],
    indirect=["vendor"],
)
@pytest.mark.parametrize("state", STATES)
def test_every_call__ends_as_on_the_stock_backend(
    state: str, hold: str, vendor: Vendor, use_databases: Any, known_of_stock: Any
) -> None:
    stock = {**vendor.settings, "ENGINE": STOCK[vendor.name]}
    use_databases({"default": stock, "watcher": stock})
    kind = type(connections["default"])
    create_table()
    if (vendor.name, state) not in known_of_stock:
        known_of_stock[vendor.name, state] = all_outcomes(kind, state)
    pooled = vendor.database({**SMALL, "hold": hold})
    use_databases({"default": pooled, "watcher": stock})
    expected = known_of_stock[vendor.name, state]
    found = all_outcomes(kind, state)
    differences = [
        f"{name}: {found[name]}, and stock: {expected[name]}"
        for name in expected
        if expected[name] != found[name] and name.removesuffix(", bare") not in DIFFERENT
    ]
    assert not differences, "\n".join(differences)
    assert all(found[f"{name}, bare"].rows == () for name in DIFFERENT if f"{name}, bare" in found)


# -- what people write -----------------------------------------------------------------------


@pytest.fixture(params=["stock", "request", "transaction"])
def database(request: pytest.FixtureRequest, vendor: Vendor, use_databases: Any) -> None:
    """An empty table, on the stock backend and on ours with each hold."""
    hold = {**SMALL, "hold": request.param}
    stock = {**vendor.settings, "ENGINE": STOCK[vendor.name]}
    use_databases({"default": stock if request.param == "stock" else vendor.database(hold)})
    create_table()


async def transfer() -> None:
    with transaction.atomic():
        await sync_to_async(insert)(1)
        raise ZeroDivisionError


def close_all_in_threads() -> None:
    async def close() -> None:
        await sync_to_async(connections.close_all)()

    asyncio.run(close())


@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_coroutine_that_opens_a_block__writes_nothing(database: None, block: Any) -> None:
    with block(), pytest.raises(SynchronousOnlyOperation):
        asyncio.run(transfer())
    close_all_in_threads()
    assert select() == []


def test_coroutine_that_is_allowed__has_its_block(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write() -> None:
        connections["default"] = wrapper
        with transaction.atomic():
            insert(1)
        with suppress(ZeroDivisionError), transaction.atomic():
            insert(2)
            raise ZeroDivisionError
        assert transaction.get_autocommit()

    wrapper = connections["default"]
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    asyncio.run(write())
    connection.close()
    assert select() == [1]


def test_block_that_a_coroutine_could_not_leave__does_not_reach_the_next_request(
    database: None,
) -> None:
    async def leave() -> None:
        connections["default"] = wrapper
        block.__exit__(None, None, None)

    wrapper = connections["default"]
    block = transaction.atomic()
    block.__enter__()
    with pytest.raises(SynchronousOnlyOperation):
        asyncio.run(leave())
    close_old_connections()
    insert(1)
    assert transaction.get_autocommit()
    connection.close()
    assert select() == [1]
