"""The outermost atomic() takes no connection before its first statement."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)
from django.db.backends.signals import connection_created
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext

from django_poolrouter import pools
from tests.conftest import Vendor
from tests.contract.numbers import (
    SMALL,
    checkouts,
    committed,
    create_table,
    insert,
    leased,
    raw,
    select,
)

OF_A_BLOCK = (
    "in_atomic_block",
    "savepoint_ids",
    "atomic_blocks",
    "needs_rollback",
    "commit_on_exit",
    "run_on_commit",
    "run_commit_hooks_on_set_autocommit_on",
)


@pytest.fixture(params=["request", "transaction"], autouse=True)
def database(vendor: Vendor, use_databases: Any, request: pytest.FixtureRequest) -> Vendor:
    use_databases({"default": vendor.database({**SMALL, "hold": request.param})})
    create_table()
    return vendor


@pytest.fixture
def other_settings(database: Vendor, use_databases: Any) -> Any:
    """Point Django at other settings than those of ``database``."""

    def switch(entry: dict[str, Any]) -> None:
        connection.close()
        pools.dispose_all()
        use_databases({"default": entry})

    return switch


def test_empty_block__takes_no_connection() -> None:
    before = checkouts()
    with transaction.atomic():
        assert connection.in_atomic_block
        assert not transaction.get_autocommit()
        assert raw() is None
    assert transaction.get_autocommit()
    with suppress(ZeroDivisionError), transaction.atomic(durable=True):
        raise ZeroDivisionError
    with transaction.atomic(), transaction.atomic(savepoint=False):
        pass
    assert checkouts() == before


def test_first_statement__begins_the_transaction() -> None:
    with transaction.atomic():
        insert(1)
        assert leased() == 1
        assert not connection.get_autocommit()
        assert committed() == []
    assert committed() == [1]


def test_exception__rolls_back_from_the_first_statement_on() -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        insert(1)
        raise ZeroDivisionError
    assert select() == []


def test_savepoint__is_a_first_statement() -> None:
    with transaction.atomic():
        with suppress(ZeroDivisionError), transaction.atomic():
            insert(1)
            raise ZeroDivisionError
        with transaction.atomic():
            insert(2)
        sid = connection.savepoint()
        insert(3)
        transaction.savepoint_rollback(sid)
    assert committed() == [2]


def test_failed_statement__breaks_the_block_like_any_other() -> None:
    insert(1)
    connection.close()
    with transaction.atomic():
        with pytest.raises(IntegrityError), transaction.atomic(savepoint=False):
            insert(1)
        assert connection.needs_rollback
        with pytest.raises(transaction.TransactionManagementError):
            insert(2)
    assert select() == [1]


def test_rollback_asked_for_beforehand__is_not_forgotten() -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        connection.ensure_connection()
        assert connection.get_rollback()
        with pytest.raises(transaction.TransactionManagementError):
            insert(1)
    assert select() == []


def test_first_statement__leaves_the_block_as_it_is() -> None:
    wrapper = connections["default"]
    connection.run_commit_hooks_on_set_autocommit_on = True
    with transaction.atomic(), transaction.atomic(savepoint=False):
        assert not connection.run_commit_hooks_on_set_autocommit_on
        transaction.on_commit(list)
        connection.run_commit_hooks_on_set_autocommit_on = True
        before = {name: getattr(wrapper, name) for name in OF_A_BLOCK}
        insert(1)
        assert {name: getattr(wrapper, name) for name in OF_A_BLOCK} == before
        assert (len(connection.atomic_blocks), connection.savepoint_ids) == (2, [None])
    assert committed() == [1]


def test_durable__is_refused_inside_a_block_that_has_not_begun() -> None:
    refused = pytest.raises(RuntimeError, match="durable")
    with transaction.atomic(), refused, transaction.atomic(durable=True):
        pass
    insert(1)
    assert select() == [1]


def test_hooks__run_after_the_commit() -> None:
    seen: list[Any] = []
    # Of a commit before: the mark that hooks are due must not reach this block.
    connection.run_commit_hooks_on_set_autocommit_on = True
    with transaction.atomic():
        transaction.on_commit(lambda: seen.append(committed()))
        insert(1)
        assert seen == []
        transaction.on_commit(lambda: seen.append(select()))
    assert seen == [[1], [1]]


def test_hooks_of_an_empty_block__run_and_may_query() -> None:
    seen: list[Any] = []
    with transaction.atomic():
        transaction.on_commit(lambda: insert(1))
        transaction.on_commit(lambda: seen.append(select()))
    assert seen == [[1]]
    assert committed() == [1]


def test_hooks__are_dropped_with_the_block() -> None:
    seen: list[Any] = []
    with suppress(ZeroDivisionError), transaction.atomic():
        transaction.on_commit(lambda: seen.append(1))
        raise ZeroDivisionError
    insert(1)
    with transaction.atomic():
        pass
    assert seen == []


def test_close__poisons_a_block_that_has_not_begun() -> None:
    ran: list[int] = []
    with transaction.atomic():
        transaction.on_commit(lambda: ran.append(1))
        connection.close()
        assert connection.closed_in_transaction
        assert connection.needs_rollback
        with pytest.raises(ProgrammingError, match="Cannot open a new connection"):
            insert(1)
    assert raw() is None
    assert transaction.get_autocommit()
    insert(2)
    assert (select(), ran) == ([2], [])
    with transaction.atomic():
        insert(3)
    assert committed() == [2, 3]


@pytest.mark.parametrize("begun", [False, True])
def test_autocommit__is_still_off_in_a_block_that_was_closed(begun: bool) -> None:
    with transaction.atomic():
        if begun:
            select()
        connection.close()
        assert not transaction.get_autocommit()
    assert transaction.get_autocommit()


def test_temporary_connection__does_not_end_the_block() -> None:
    with transaction.atomic():
        with connection.temporary_connection() as cursor:
            cursor.execute("INSERT INTO numbers VALUES (1)")
        insert(2)
        assert pools["default"].execute("SELECT count(*) FROM numbers") == [(2,)]
    assert committed() == [1, 2]


def test_execute__does_not_end_a_block_that_has_not_begun() -> None:
    with transaction.atomic():
        assert pools["default"].execute("SELECT count(*) FROM numbers") == [(0,)]
        insert(1)
    assert committed() == [1]


def test_receivers_of_connection_created__are_outside_of_the_block() -> None:
    seen = []

    def receive(connection: Any, **kwargs: Any) -> None:
        seen.append((connection.in_atomic_block, connection.get_autocommit()))
        with transaction.atomic():
            insert(1)

    connection_created.connect(receive)
    try:
        with suppress(ZeroDivisionError), transaction.atomic():
            insert(2)
            raise ZeroDivisionError
    finally:
        connection_created.disconnect(receive)
    assert seen[:1] == [(False, True)]
    assert select() == [1]


def test_statements__are_logged_as_ever(settings: Any) -> None:
    settings.DEBUG = True
    connection.queries_log.clear()
    with transaction.atomic():
        insert(1)
    logged = [query["sql"] for query in connection.queries]
    assert [logged[0], logged[-2], logged[-1]] == [
        "BEGIN",
        "INSERT INTO numbers VALUES (1)",
        "COMMIT",
    ]


def test_captured_queries__begin_with_the_block() -> None:
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        insert(1)
    assert captured[0]["sql"] == "BEGIN"


def test_manual_transaction__is_begun_at_once_and_committed_by_hand(database: Vendor) -> None:
    transaction.set_autocommit(False)
    assert raw() is not None
    with transaction.atomic():
        insert(1)
    # As in stock Django: releasing a savepoint commits in sqlite3.
    assert committed() == ([1] if database.name == "sqlite" else [])
    transaction.commit()
    assert committed() == [1]
    transaction.rollback()
    transaction.set_autocommit(True)


@pytest.mark.parametrize("vendor", ["postgresql", "mariadb"], indirect=True)
def test_select_for_update__is_inside_the_transaction() -> None:
    insert(1)
    connection.close()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT n FROM numbers FOR UPDATE")
        other = connections["default"].copy()
        with pytest.raises(DatabaseError), other.cursor() as cursor:
            cursor.execute("SELECT n FROM numbers FOR UPDATE NOWAIT")
        other.close()


def test_atomic_requests__take_a_connection_for_views_that_use_one(database: Vendor) -> None:
    from django.core.handlers.base import BaseHandler

    connections.settings["default"]["ATOMIC_REQUESTS"] = True
    handler = BaseHandler()
    before = checkouts()

    def view(request: Any) -> HttpResponse:
        assert connection.in_atomic_block
        return HttpResponse()

    def writing(request: Any) -> HttpResponse:
        insert(1)
        raise ZeroDivisionError

    request = RequestFactory().get("/")
    handler.make_view_atomic(view)(request)
    assert checkouts() == before
    with pytest.raises(ZeroDivisionError):
        handler.make_view_atomic(writing)(request)
    assert select() == []


def test_unreachable_server__ends_the_block_and_leaves_the_wrapper_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = pools["default"]

    def refuse(timeout: Any = None) -> Any:
        raise OperationalError("nobody there")

    def fail_in_a_block() -> None:
        with transaction.atomic():
            insert(1)

    with monkeypatch.context() as patch:
        patch.setattr(pool, "checkout", refuse)
        with pytest.raises(OperationalError, match="nobody there"):
            fail_in_a_block()
        assert not connection.in_atomic_block
        assert transaction.get_autocommit()
        with transaction.atomic():
            with pytest.raises(OperationalError):
                insert(1)
            assert connection.in_atomic_block
    with transaction.atomic():
        insert(2)
    assert committed() == [2]


def test_failing_begin__does_not_leave_a_block_in_autocommit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrapper = connections["default"]
    begin = (
        "_start_transaction_under_autocommit"
        if hasattr(wrapper, "_start_transaction_under_autocommit")
        else "_set_autocommit"
    )

    def fail(*args: Any) -> None:
        raise OperationalError("gone away")

    with transaction.atomic():
        with monkeypatch.context() as patch:
            patch.setattr(wrapper, begin, fail)
            with pytest.raises(OperationalError, match="gone away"):
                insert(1)
        assert raw() is None
        insert(2)
        assert committed() == []
    assert committed() == [2]


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
@pytest.mark.parametrize("mode", ["IMMEDIATE", "EXCLUSIVE", "immediate"])
def test_sqlite_that_locks_at_once__does_so(
    mode: str, database: Vendor, other_settings: Any
) -> None:
    options = {"transaction_mode": mode, "timeout": 0}
    other_settings(database.database(SMALL, OPTIONS=options))
    with transaction.atomic():
        other = connections["default"].copy()
        with pytest.raises(OperationalError, match="locked"), other.cursor() as cursor:
            cursor.execute("INSERT INTO numbers VALUES (1)")
        other.close()


def test_unpooled_database__connects_when_the_block_is_entered(
    database: Vendor, other_settings: Any
) -> None:
    other_settings(database.database(False))
    with transaction.atomic():
        assert raw() is not None


def test_autocommit_off_in_settings__connects_when_the_block_is_entered(
    database: Vendor, other_settings: Any
) -> None:
    other_settings(database.database(SMALL, AUTOCOMMIT=False))
    assert not transaction.get_autocommit()
    with transaction.atomic():
        assert raw() is not None
        insert(1)
    transaction.rollback()
    assert select() == ([1] if database.name == "sqlite" else [])
    transaction.rollback()


def test_schema_editor__has_a_connection_for_quoting() -> None:
    with override_settings(DEBUG=False), connection.schema_editor() as editor:
        assert raw() is not None
        assert editor.quote_value("it's") == "'it''s'" or "\\'" in editor.quote_value("it's")
