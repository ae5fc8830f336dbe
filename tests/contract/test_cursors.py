"""A cursor ends with the lease that it was made in."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import Error, connection, connections, transaction
from django.test import override_settings

from django_poolrouter import pools
from tests.conftest import Vendor
from tests.contract.numbers import SMALL, create_table, insert, leased, select
from tests.contract.test_backends import ONE


@pytest.fixture
def numbers(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database(ONE)})
    create_table()
    insert(1, 2, 3)


def kept_cursor() -> Any:
    cursor = connection.cursor()
    cursor.execute("SELECT n FROM numbers ORDER BY n")
    assert cursor.fetchone() == (1,)
    return cursor


USES: dict[str, Callable[[Any], Any]] = {
    "execute": lambda cursor: cursor.execute("INSERT INTO numbers VALUES (9)"),
    "executemany": lambda cursor: cursor.executemany("INSERT INTO numbers VALUES (%s)", [[9]]),
    "fetchone": lambda cursor: cursor.fetchone(),
    "fetchmany": lambda cursor: cursor.fetchmany(2),
    "fetchall": lambda cursor: cursor.fetchall(),
    "iterate": lambda cursor: next(iter(cursor)),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("debug", [False, True])
def test_kept_cursor__raises_after_close(
    numbers: None, use: Callable[[Any], Any], debug: bool
) -> None:
    with override_settings(DEBUG=debug):
        cursor = kept_cursor()
        connection.close()
        with pytest.raises(Error):
            use(cursor)
    assert select() == [1, 2, 3]


def test_kept_cursor__raises_when_its_connection_is_lent_again(numbers: None) -> None:
    cursor = kept_cursor()
    connection.close_if_unusable_or_obsolete()
    with connection.cursor() as other:
        other.execute("SELECT 7")
        with pytest.raises(Error):
            cursor.fetchone()
        assert other.fetchone() == (7,)
    with pytest.raises(Error):
        cursor.execute("SELECT 1")


def test_kept_cursor_of_a_thread__raises_when_the_thread_has_ended(numbers: None) -> None:
    connection.close()
    kept = []
    thread = threading.Thread(target=lambda: kept.append(kept_cursor()))
    thread.start()
    thread.join()
    assert leased() == 0
    with pytest.raises(Error):
        kept[0].fetchone()


def test_kept_cursor__raises_after_dispose_and_close(numbers: None) -> None:
    cursor = kept_cursor()
    pools["default"].dispose()
    assert cursor.fetchone() == (2,)
    connection.close()
    with pytest.raises(Error):
        cursor.execute("SELECT 1")


def test_kept_cursor__raises_when_atomic_was_left_without_connection(numbers: None) -> None:
    with transaction.atomic():
        cursor = kept_cursor()
        connection.close()
        with pytest.raises(Error):
            cursor.fetchone()


def test_kept_cursor__can_be_closed_again_and_left(numbers: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        connection.close()
    cursor.close()
    kept = kept_cursor()
    kept.close()
    kept.close()
    connection.close()


def test_kept_iterator__raises_or_is_at_its_end(numbers: None) -> None:
    cursor = kept_cursor()
    rows = iter(cursor)
    assert next(rows) == (2,)
    connection.close()
    with pytest.raises((Error, StopIteration)):
        next(rows)


def test_cursors_that_are_gone__are_not_remembered(numbers: None) -> None:
    wrapper = connections["default"]
    gc.disable()
    try:
        for _ in range(100):
            connection.cursor().execute("SELECT 1")
        assert len(wrapper._cursors) == 0
    finally:
        gc.enable()


def test_kept_chunked_cursor__is_closed_on_the_server_too(
    postgresql_database: dict[str, str], use_databases: Any
) -> None:
    use_databases({"default": Vendor("postgresql", postgresql_database).database(ONE)})
    cursor = connections["default"].chunked_cursor()
    cursor.execute("SELECT generate_series(1, 1000)")
    rows = iter(cursor)
    assert next(rows) == (1,)
    connection.close()
    with connection.cursor() as other:
        other.execute("SELECT count(*) FROM pg_cursors")
        assert other.fetchone() == (0,)
    with pytest.raises(Error):
        cursor.fetchmany(10)
    rows.close()
    assert pools["default"].status().connects == 1


def test_unread_rows_of_a_kept_cursor__lock_no_sqlite_table(
    tmp_path: Any, use_databases: Any
) -> None:
    sqlite = Vendor("sqlite", {"NAME": str(tmp_path / "db.sqlite3")})
    use_databases({"default": sqlite.database(SMALL)})
    create_table()
    with transaction.atomic():
        insert(*range(1000))
    cursor = kept_cursor_from(0)
    connection.close()
    with connection.cursor() as other:
        other.execute("DROP TABLE numbers")
    with pytest.raises(Error):
        cursor.fetchone()


def kept_cursor_from(first: int) -> Any:
    cursor = connection.cursor()
    cursor.execute("SELECT n FROM numbers")
    assert cursor.fetchone() == (first,)
    return cursor


def test_unread_rows_of_a_server_side_cursor__are_never_read(
    mariadb_database: dict[str, str], use_databases: Any
) -> None:
    from MySQLdb.cursors import SSCursor

    mariadb = Vendor("mariadb", mariadb_database)
    use_databases({"default": mariadb.database(ONE, OPTIONS={"cursorclass": SSCursor})})
    cursor = connection.cursor()
    cursor.execute("SELECT seq FROM seq_1_to_100000")
    assert cursor.fetchone() == (1,)
    connection.close()
    assert pools["default"].status().open == 0
    with pytest.raises(Error):
        cursor.fetchmany(10)
