"""What is peculiar to MySQL and MariaDB: transactions with one round trip less, and right."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.utils import DatabaseError, Error, OperationalError

from django_poolrouter import pools

STOCK, OURS = "django.db.backends.mysql", "django_poolrouter.backends.mysql"


@pytest.fixture(params=[STOCK, OURS], ids=["stock", "ours"])
def engine(request: pytest.FixtureRequest, mariadb_database: Any, use_databases: Any) -> str:
    """An empty table `t`, by Django's own engine and by ours: the same must come of it."""
    use_databases({"default": {"ENGINE": request.param, **mariadb_database}})
    execute("DROP TABLE IF EXISTS t")
    execute("CREATE TABLE t (n integer PRIMARY KEY, v integer DEFAULT 0) ENGINE=InnoDB")
    connection.close()
    return request.param


def execute(sql: str, using: str = "default") -> Any:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def rows() -> list[int]:
    connection.close()
    return [n for (n,) in execute("SELECT n FROM t ORDER BY n")]


def questions(work: Callable[[], Any]) -> int:
    """Return how many statements the session sends to the server for one request's work."""

    def count() -> int:
        return int(execute("SHOW SESSION STATUS LIKE 'Questions'")[0][1])

    before = count()
    work()
    connection.close()
    return count() - before - 1  # the second count counts itself


def select() -> None:
    execute("SELECT 1")


def test_request__costs_its_own_statements_only(mariadb_database: Any, use_databases: Any) -> None:
    use_databases({"default": {"ENGINE": OURS, **mariadb_database}})
    for _ in range(2):
        assert questions(select) == 1
        assert questions(transaction.atomic(select)) == 3
        with suppress(ZeroDivisionError):
            assert questions(transaction.atomic(lambda: (select(), 1 / 0))) <= 4


def test_savepoints__cost_their_own_statements_only(
    mariadb_database: Any, use_databases: Any
) -> None:
    use_databases({"default": {"ENGINE": OURS, **mariadb_database}})

    @transaction.atomic
    def work() -> None:
        transaction.atomic(select)()
        with suppress(ZeroDivisionError), transaction.atomic():
            raise ZeroDivisionError

    questions(work)
    # Two to begin and to end, three for the first savepoint, three for the second.
    assert questions(work) == 8


@pytest.mark.parametrize(
    "sql",
    ["BEGIN", "/* why */ begin", "START TRANSACTION", "SELECT 1; BEGIN", "SET autocommit=0"],
)
def test_transaction_by_sql__is_rolled_back(engine: str, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        while cursor.nextset():
            pass
        cursor.execute("INSERT INTO t (n) VALUES (1)")
    assert rows() == []


def test_ddl_inside_atomic__does_not_end_atomicity_of_the_rest(engine: str) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        execute("INSERT INTO t (n) VALUES (1)")
        execute("CREATE TABLE IF NOT EXISTS other (n integer)")  # commits, says the server
        execute("INSERT INTO t (n) VALUES (2)")
        raise ZeroDivisionError
    assert rows() == [1]


def test_swallowed_deadlock__does_not_end_atomicity_of_the_rest(engine: str) -> None:
    execute("INSERT INTO t (n) VALUES (1), (2)")
    locked, waiting = threading.Event(), threading.Event()

    def rival() -> None:
        try:
            with transaction.atomic():
                # More rows changed: the server ends the other transaction.
                execute("INSERT INTO t (n) VALUES (10), (11), (12), (13)")
                execute("UPDATE t SET v = 1 WHERE n = 2")
                locked.set()
                assert waiting.wait(20)
                execute("UPDATE t SET v = 1 WHERE n = 1")
        finally:
            connection.close()

    thread = threading.Thread(target=rival)
    thread.start()
    assert locked.wait(20)
    with suppress(ZeroDivisionError), transaction.atomic():
        execute("UPDATE t SET v = 2 WHERE n = 1")
        waiting.set()
        with pytest.raises(OperationalError, match="Deadlock"):
            execute("UPDATE t SET v = 2 WHERE n = 2")
        execute("INSERT INTO t (n) VALUES (3)")
        raise ZeroDivisionError
    thread.join(20)
    assert not thread.is_alive()
    assert rows() == [1, 2, 10, 11, 12, 13]


def test_failing_commit__raises_and_keeps_nothing(engine: str) -> None:
    killer = connections["default"].copy()
    hooks: list[str] = []

    def work() -> None:
        with transaction.atomic():
            execute("INSERT INTO t (n) VALUES (1)")
            transaction.on_commit(lambda: hooks.append("ran"))
            with killer.cursor() as cursor:
                cursor.execute(f"KILL {execute('SELECT CONNECTION_ID()')[0][0]}")

    with pytest.raises(DatabaseError):
        work()
    killer.close()
    assert rows() == []
    assert hooks == []
    with transaction.atomic():
        execute("INSERT INTO t (n) VALUES (2)")
    assert rows() == [2]


def test_commit_by_hand__leaves_autocommit_off(engine: str) -> None:
    transaction.set_autocommit(False)
    execute("INSERT INTO t (n) VALUES (1)")
    transaction.commit()
    execute("INSERT INTO t (n) VALUES (2)")
    transaction.rollback()
    transaction.set_autocommit(True)
    assert rows() == [1]


def test_commit_by_hand_after_a_block_that_was_closed__commits(engine: str) -> None:
    with transaction.atomic():
        execute("SELECT 1")
        connection.close()
    execute("BEGIN")
    execute("INSERT INTO t (n) VALUES (1)")
    connection.commit()
    assert rows() == [1]


def test_on_commit__runs_after_the_commit(engine: str) -> None:
    seen: list[Any] = []
    other = connections["default"].copy()

    def look() -> None:
        with other.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM t")
            seen.append(cursor.fetchone()[0])

    with transaction.atomic():
        execute("INSERT INTO t (n) VALUES (1)")
        transaction.on_commit(look)
    other.close()
    assert seen == [1]


def test_new_wrapper__asks_the_server_nothing(mariadb_database: Any, use_databases: Any) -> None:
    use_databases({"default": {"ENGINE": OURS, **mariadb_database}})
    select()
    connection.close()

    def in_a_thread() -> None:
        def work() -> None:
            assert connections["default"].mysql_is_mariadb
            select()
            connection.close()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    assert questions(lambda: (connection.close(), in_a_thread())) == 1
    assert pools["default"].status().connects == 1


def test_results__are_read_one_after_another(engine: str) -> None:
    with connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute("SELECT 1; SELECT 2, 3; DO 0")
            assert cursor.fetchall() == ((1,),)
            assert cursor.nextset() == 1
            assert cursor.fetchall() == ((2, 3),)
            assert cursor.nextset() == 1
            assert cursor.nextset() is None
            # The next statement throws away what is left of this one.
            cursor.execute("SELECT 4; SELECT 5")
        cursor.execute("SELECT 6")
        assert cursor.fetchall() == ((6,),)
        assert cursor.nextset() is None
        cursor.execute("SELECT 7; SELECT 8")
    assert execute("SELECT 9") == ((9,),)


def test_results_of_a_procedure__end_with_its_status(engine: str) -> None:
    execute("DROP PROCEDURE IF EXISTS two")
    with connection.cursor() as cursor:
        cursor.execute("CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2; END")
        cursor.callproc("two")
        found = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
    assert found == [((1,),), ((2,),), ()]


def test_cursor_of_a_lost_connection__closes_after_it(
    mariadb_database: Any, use_databases: Any
) -> None:
    use_databases({"default": {"ENGINE": OURS, **mariadb_database}})
    cursor = connection.cursor()
    with pytest.raises(OperationalError):
        cursor.execute("KILL CONNECTION_ID()")
    connection.close()
    cursor.close()
    with pytest.raises(Error):
        cursor.fetchall()
    assert execute("SELECT 1") == ((1,),)
