"""Session state with the default reset: one user's SET never reaches another user.

Each test runs with both holds.  The first user changes the session through Django's cursor, and
must find it changed until the end of the request.  The next one must not.
"""

from __future__ import annotations

import datetime
import sqlite3
from typing import Any

import MySQLdb.cursors
import psycopg
import pytest
from django.db import ProgrammingError, connection, transaction
from psycopg import sql

from django_poolrouter import pools
from tests.conftest import Vendor
from tests.support.waiting import eventually


def query(sql: str, params: Any = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else None


def check_ends_with_the_lease(change: str, look: str) -> None:
    before = query(look)
    connection.close()
    query(change)
    assert query(look) != before
    connection.close()
    assert query(look) == before


@pytest.fixture(params=["request", "transaction"])
def hold(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def use(use_databases: Any, hold: str) -> Any:
    def use(vendor: Vendor, **changes: Any) -> None:
        pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0, "hold": hold}
        use_databases({"default": vendor.database(pool, **changes)})

    return use


@pytest.fixture
def rls(use: Any, postgresql_database: dict[str, str]) -> None:
    """A table whose rows only their owner may see."""
    use(Vendor("postgresql", postgresql_database))
    query("DROP TABLE IF EXISTS notes")
    query("CREATE TABLE notes (owner text, body text)")
    query("INSERT INTO notes VALUES ('1', 'of user 1'), ('2', 'of user 2')")
    query("ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
    query("CREATE POLICY own ON notes USING (owner = current_setting('app.user_id', true))")
    query("ALTER TABLE notes FORCE ROW LEVEL SECURITY")
    connection.close()


def notes() -> list[str]:
    return [body for (body,) in query("SELECT body FROM notes")]


@pytest.mark.usefixtures("rls")
@pytest.mark.parametrize(
    "log_in", ["SET app.user_id = '1'", "SELECT set_config('app.user_id', '1', false)"]
)
def test_anonymous_user__sees_no_rows_of_the_last_user(log_in: str) -> None:
    query(log_in)
    assert notes() == ["of user 1"]
    connection.close()
    assert notes() == []
    connection.close()


@pytest.mark.usefixtures("rls")
def test_set_inside_a_transaction__lasts_to_the_end_of_the_request() -> None:
    with transaction.atomic():
        query("SET app.user_id = '2'")
    assert notes() == ["of user 2"]
    connection.close()
    assert notes() == []


def test_time_zone_of_one_user__does_not_move_the_times_of_the_next(
    use: Any, postgresql_database: dict[str, str]
) -> None:
    use(Vendor("postgresql", postgresql_database))
    noon = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
    query("SET TIME ZONE 'Asia/Tokyo'")
    query("SELECT 1")
    connection.close()
    assert query("SELECT %s::timestamptz::text", [noon]) == [("2026-01-01 12:00:00+00",)]


@pytest.mark.parametrize(
    ("change", "look"),
    [
        ("SET @tenant = 'acme'", "SELECT @tenant"),
        ("SELECT 'acme' INTO @tenant", "SELECT @tenant"),
        ("SET sql_mode = ''", "SELECT @@sql_mode"),
        ("SET time_zone = '+09:00'", "SELECT @@time_zone"),
        ("SET SESSION TRANSACTION READ ONLY", "SELECT @@tx_read_only"),
        ("DO GET_LOCK('left', 0)", "SELECT IS_USED_LOCK('left')"),
        ("USE information_schema", "SELECT DATABASE()"),
    ],
)
def test_session_state_on_mariadb__ends_with_the_lease(
    use: Any, mariadb_database: dict[str, str], change: str, look: str
) -> None:
    use(Vendor("mariadb", mariadb_database))
    check_ends_with_the_lease(change, look)


@pytest.mark.parametrize(
    ("change", "look"),
    [
        ("PRAGMA case_sensitive_like = ON", "SELECT 'a' LIKE 'A'"),
        ("PRAGMA query_only = ON", "PRAGMA query_only"),
        ("ATTACH ':memory:' AS extra", "SELECT count(*) FROM pragma_database_list"),
        ("CREATE TEMP TABLE left_behind (n)", "SELECT count(*) FROM sqlite_temp_master"),
    ],
)
def test_session_state_on_sqlite__ends_with_the_lease(
    use: Any, tmp_path: Any, change: str, look: str
) -> None:
    use(Vendor("sqlite", {"NAME": str(tmp_path / "db.sqlite3")}))
    check_ends_with_the_lease(change, look)


# -- what is seen besides Django's cursors --------------------------------------------------------


def _marked() -> int:
    return pools["default"].status().marked


ZONE = "SHOW TimeZone"
SET_ZONE = "SET TIME ZONE 'Asia/Tokyo'"
ON_PSYCOPG = {
    "execute of the connection": lambda raw: raw.execute(SET_ZONE),
    "a cursor of the connection": lambda raw: raw.cursor().execute(SET_ZONE),
    "a composed statement": lambda raw: raw.execute(sql.SQL("SET TIME ZONE {}").format("Japan")),
    "bytes": lambda raw: raw.execute(SET_ZONE.encode()),
    "executemany": lambda raw: raw.cursor().executemany(
        "SELECT set_config('TimeZone', %s, false)", [("Japan",)]
    ),
    "a stream": lambda raw: list(
        raw.cursor().stream("SELECT set_config('TimeZone', 'Japan', false)")
    ),
    "copy": lambda raw: _copy(
        raw, "COPY (SELECT set_config('TimeZone', 'Japan', false)) TO STDOUT"
    ),
    "a cursor factory": lambda raw: _with_factory(raw),
    "a function": lambda raw: raw.execute("SELECT move_clock()"),
    "libpq": lambda raw: raw.pgconn.exec_(SET_ZONE.encode()),
}


def _copy(raw: Any, statement: str) -> None:
    with raw.cursor().copy(statement) as copy:
        list(copy)


def _with_factory(raw: Any) -> None:
    raw.cursor_factory = psycopg.RawCursor
    raw.execute(SET_ZONE)


@pytest.mark.parametrize("change", ON_PSYCOPG.values(), ids=ON_PSYCOPG)
def test_change_by_psycopg__ends_with_the_lease(
    use: Any, postgresql_database: dict[str, str], change: Any
) -> None:
    use(Vendor("postgresql", postgresql_database))
    query(
        "CREATE OR REPLACE FUNCTION move_clock() RETURNS text LANGUAGE SQL AS"
        " 'SELECT set_config(''TimeZone'', ''Japan'', false)'"
    )
    before = query(ZONE)
    connection.close()
    marked = _marked()
    connection.ensure_connection()
    change(connection.connection)
    assert query(ZONE) != before
    connection.close()
    assert query(ZONE) == before
    assert _marked() == marked + 1


@pytest.mark.filterwarnings(
    "ignore:.*ServerCursor", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_server_side_cursor_of_the_driver__marks_while_it_is_open(
    use: Any, postgresql_database: dict[str, str]
) -> None:
    use(Vendor("postgresql", postgresql_database))
    for closes in (True, False):
        connection.ensure_connection()
        cursor = connection.connection.cursor("left", withhold=True)
        cursor.execute("SELECT generate_series(1, 9)")
        if closes:
            cursor.close()
        connection.close()
        assert query("SELECT count(*) FROM pg_cursors WHERE is_holdable") == [(0,)]
        assert _marked() == (0 if closes else 1)


def test_chunked_iterator__marks_nothing(use: Any, postgresql_database: dict[str, str]) -> None:
    use(Vendor("postgresql", postgresql_database))
    with connection.chunked_cursor() as cursor:
        cursor.execute("SELECT generate_series(1, 9)")
        assert len(cursor.fetchall()) == 9
    with connection.chunked_cursor() as cursor:  # left in the middle
        cursor.execute("SELECT generate_series(1, 9)")
        cursor.fetchone()
    connection.close()
    assert _marked() == 0


RELOAD = "SELECT pg_reload_conf()"


def test_setting_that_changed_on_the_server__costs_one_reset(
    use: Any, postgresql: Any, postgresql_database: dict[str, str]
) -> None:
    """A reload changes settings of open sessions, and the server reports it."""
    use(Vendor("postgresql", postgresql_database))
    query("SELECT 1")
    connection.close()
    try:
        postgresql.sql("primary", "ALTER SYSTEM SET IntervalStyle = 'iso_8601'", RELOAD)
        eventually(lambda: query("SHOW IntervalStyle") == [("iso_8601",)])
        connection.close()
        assert _marked() == 1
        for _ in range(3):
            query("SELECT 1")
            connection.close()
        assert _marked() == 1
    finally:
        postgresql.sql("primary", "ALTER SYSTEM RESET IntervalStyle", RELOAD)


ON_MYSQLDB = {
    "query": lambda raw: (raw.query("SET time_zone = '+09:00'"), raw.store_result()),
    "send_query": lambda raw: (
        raw.send_query(b"SET time_zone = '+09:00'"),
        raw.read_query_result(),
        raw.store_result(),
    ),
    "a cursor of the connection": lambda raw: raw.cursor().execute("SET time_zone = '+09:00'"),
    "another class of cursor": lambda raw: raw.cursor(MySQLdb.cursors.DictCursor).execute(
        "SET time_zone = %s", ["+09:00"]
    ),
    "select_db": lambda raw: raw.select_db("information_schema"),
    "set_sql_mode": lambda raw: raw.set_sql_mode("ANSI"),
    "set_server_option": lambda raw: raw.set_server_option(1),
    "a procedure": lambda raw: raw.cursor().callproc("move_clock"),
}
LOOK_ON_MARIADB = (
    "SELECT @@time_zone, DATABASE(), @@sql_mode, @@autocommit, @@foreign_key_checks, 'a' || 'b'"
)


@pytest.mark.parametrize("change", ON_MYSQLDB.values(), ids=ON_MYSQLDB)
def test_change_by_mysqlclient__ends_with_the_lease(
    use: Any, mariadb_database: dict[str, str], change: Any
) -> None:
    use(Vendor("mariadb", mariadb_database))
    query("DROP PROCEDURE IF EXISTS move_clock")
    query("CREATE PROCEDURE move_clock() SET time_zone = '+09:00'")
    before = query(LOOK_ON_MARIADB)
    connection.close()
    marked, connects = _marked(), pools["default"].status().connects
    connection.ensure_connection()
    change(connection.connection)
    connection.close()
    assert query(LOOK_ON_MARIADB) == before
    assert _marked() + pools["default"].status().connects == marked + connects + 1


def test_statement_sent_after_one_that_failed__is_noted(
    use: Any, mariadb_database: dict[str, str]
) -> None:
    use(Vendor("mariadb", mariadb_database))
    connection.ensure_connection()
    raw = connection.connection
    with pytest.raises(MySQLdb.ProgrammingError):
        raw.cursor().execute("SELECT %s, %s", [1])
    raw.query("SET time_zone = '+09:00'")
    connection.close()
    assert _marked() == 1


ON_SQLITE = {
    "execute of the connection": lambda raw: raw.execute("PRAGMA case_sensitive_like = ON"),
    "a cursor of the connection": lambda raw: raw.cursor().execute(
        "PRAGMA case_sensitive_like = ON"
    ),
    "a script": lambda raw: raw.executescript("SELECT 1; PRAGMA case_sensitive_like = ON"),
    "a function": lambda raw: raw.create_function("like", 2, lambda pattern, text: 0),
    "a limit": lambda raw: raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000),
}


@pytest.mark.parametrize("change", ON_SQLITE.values(), ids=ON_SQLITE)
def test_change_by_sqlite3__ends_with_the_lease(use: Any, tmp_path: Any, change: Any) -> None:
    use(Vendor("sqlite", {"NAME": str(tmp_path / "db.sqlite3")}))

    def look() -> Any:
        limit = connection.connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        return query("SELECT 'a' LIKE 'A'"), limit

    connection.ensure_connection()
    before = look()
    connection.close()
    connection.ensure_connection()
    change(connection.connection)
    connection.close()
    connection.ensure_connection()
    assert look() == before
    assert _marked() == 1


# -- what leaves nothing ----------------------------------------------------------------------


def test_transactions_and_constraint_checks__mark_nothing(
    vendor: Vendor, use: Any, tmp_path: Any
) -> None:
    use(vendor)
    query("CREATE TABLE IF NOT EXISTS unmarked (n integer)")
    with transaction.atomic(), transaction.atomic():
        query("INSERT INTO unmarked VALUES (%s)", [1])
    with connection.constraint_checks_disabled():
        query("DELETE FROM unmarked")
    connection.check_constraints()
    connection.close()
    assert _marked() == 0


def test_constraint_checks_left_off__mark_the_lease(use: Any, tmp_path: Any) -> None:
    use(Vendor("sqlite", {"NAME": str(tmp_path / "db.sqlite3")}))
    connection.disable_constraint_checking()
    connection.close()
    assert query("PRAGMA foreign_keys") == [(1,)]
    assert _marked() == 1
    connection.enable_constraint_checking()


# -- configure ---------------------------------------------------------------------------------


def test_configure__prepares_each_new_connection_and_each_cleared_session(
    use_databases: Any, postgresql_database: dict[str, str], hold: str
) -> None:
    calls = []

    def prepare(raw: Any) -> None:
        calls.append(raw)
        raw.add_notice_handler(print)
        raw.execute("SET statement_timeout = '7s'")

    pool = {"pool_size": 1, "max_overflow": 0, "hold": hold, "configure": prepare}
    use_databases({"default": Vendor("postgresql", postgresql_database).database(pool)})
    for _ in range(2):
        assert query("SHOW statement_timeout") == [("7s",)]
        connection.close()
    assert len(calls) == 1
    assert _marked() == 0
    connection.ensure_connection()
    connection.connection.remove_notice_handler(print)
    query("SET statement_timeout = '1s'")
    connection.close()
    assert query("SHOW statement_timeout") == [("7s",)]
    assert len(calls) == 2
    connection.ensure_connection()
    assert connection.connection._notice_handlers == [print], "neither lost nor twice"
    connection.close()


def test_configure_that_fails__is_a_failed_connect(
    use_databases: Any, postgresql_database: dict[str, str]
) -> None:
    def prepare(raw: Any) -> None:
        raw.execute("SELECT nothing")

    pool = {"pool_size": 1, "max_overflow": 0, "configure": prepare}
    use_databases({"default": Vendor("postgresql", postgresql_database).database(pool)})
    with pytest.raises(ProgrammingError, match='column "nothing" does not exist'):
        connection.ensure_connection()
    status = pools["default"].status()
    assert (status.connect_errors, status.open) == (1, 0)
