"""What one user leaves on a connection, and what the next one finds."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from typing import Any

import MySQLdb.cursors
import psycopg
import pytest
from django.db import connection
from django.db.backends.signals import connection_created
from psycopg.types.numeric import FloatLoader
from psycopg.types.string import StrDumper

from django_poolrouter import pools
from django_poolrouter.signals import connection_lost
from tests.conftest import Vendor

ONE = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0}
SESSION = {**ONE, "reset": "session"}


def query(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else None


def seen_by_the_next_user(sql: str) -> Any:
    connection.close()
    return query(sql)


def leave(*statements: str) -> None:
    """Execute statements on the raw connection, and give it back."""
    with pools["default"].connection() as raw:
        for statement in statements:
            cursor = raw.cursor()
            cursor.execute(statement)
            cursor.close()


def connects() -> int:
    return pools["default"].status().connects


# -- "session" on PostgreSQL ------------------------------------------------------------------

POSTGRESQL_LEFTOVERS = {
    "setting": ("SET work_mem = '1MB'", "SHOW work_mem"),
    "own setting": (
        "SET shop.tenant = 'acme'",
        "SELECT nullif(current_setting('shop.tenant', true), '')",
    ),
    "time zone": ("SET TimeZone = 'Asia/Tokyo'", "SHOW TimeZone"),
    "search path": ("SET search_path = nowhere", "SHOW search_path"),
    "role": ("SET ROLE pg_monitor", "SELECT current_user"),
    "session authorization": (
        "SET SESSION AUTHORIZATION shop; SET ROLE pg_monitor",
        "SELECT session_user, current_user",
    ),
    "isolation level": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SHOW default_transaction_isolation",
    ),
    "read-only session": (
        "SET default_transaction_read_only = on",
        "SHOW default_transaction_read_only",
    ),
    "client encoding": ("SET client_encoding = 'LATIN1'", "SHOW client_encoding"),
    "advisory lock": (
        "SELECT pg_advisory_lock(4711)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
    ),
    "LISTEN": ("LISTEN left_behind", "SELECT count(*) FROM pg_listening_channels()"),
    "temporary table": (
        "CREATE TEMPORARY TABLE left_behind (n integer)",
        "SELECT count(*) FROM pg_class WHERE relname = 'left_behind'",
    ),
    "prepared statement": (
        "PREPARE left_behind AS SELECT 1",
        "SELECT count(*) FROM pg_prepared_statements",
    ),
    "cursor WITH HOLD": (
        "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
        "SELECT count(*) FROM pg_cursors WHERE name = 'left_behind'",
    ),
}


@pytest.fixture
def use_postgresql(postgresql_database: dict[str, str], use_databases: Any) -> Callable[..., None]:
    """Point Django at PostgreSQL, with these options of the pool and changes of the entry."""
    settings = {**postgresql_database, "TIME_ZONE": "Europe/Lisbon"}
    vendor = Vendor("postgresql", settings)
    return lambda pool=True, **changes: use_databases({"default": vendor.database(pool, **changes)})


@pytest.mark.parametrize(
    ("statement", "look"), POSTGRESQL_LEFTOVERS.values(), ids=POSTGRESQL_LEFTOVERS
)
def test_session_reset_on_postgresql__clears(
    use_postgresql: Any, statement: str, look: str
) -> None:
    use_postgresql(SESSION)
    before = query(look), query("SELECT pg_backend_pid()")
    connection.close()
    leave(statement)
    assert (query(look), query("SELECT pg_backend_pid()")) == before
    assert connects() == 1


def test_session_reset_on_postgresql__keeps_what_django_and_the_options_set(
    postgresql: Any, use_postgresql: Any
) -> None:
    use_postgresql(
        SESSION,
        OPTIONS={
            "assume_role": "pg_monitor",
            "options": "-c work_mem=3MB",
            "isolation_level": psycopg.IsolationLevel.SERIALIZABLE,
        },
    )
    look = "SELECT current_user, current_setting('TimeZone'), current_setting('work_mem')"
    assert query(look) == [("pg_monitor", "Europe/Lisbon", "3MB")]
    connection.close()
    leave("RESET ROLE", "SET TimeZone = 'Asia/Tokyo'", "SET work_mem = '1MB'")
    assert query(look) == [("pg_monitor", "Europe/Lisbon", "3MB")]
    assert connection.connection.isolation_level == psycopg.IsolationLevel.SERIALIZABLE


def test_session_reset_on_postgresql__agrees_with_the_driver_on_prepared_statements(
    use_postgresql: Any,
) -> None:
    use_postgresql(SESSION, OPTIONS={"server_side_binding": True})
    leave("SELECT 1")  # the driver has counted the statement that discards, and looks away
    for _ in range(3):
        with pools["default"].connection() as raw:
            raw.prepare_threshold = 0
            for n in range(3):
                assert raw.execute("SELECT %s::int + 1", [n]).fetchone() == (n + 1,)
            assert raw.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0] > 0
    assert connects() == 1


def test_session_reset_on_postgresql__drops_notifications_nobody_fetched(
    use_postgresql: Any,
) -> None:
    use_postgresql(SESSION)
    leave("LISTEN news", "NOTIFY news, 'for the first user'", "SELECT 1")
    with pools["default"].connection() as raw:
        assert list(raw.notifies(timeout=0)) == []
    assert connects() == 1


# -- "session" on MariaDB ----------------------------------------------------------------------

MARIADB_LEFTOVERS = {
    "session variable": ("SET SESSION sort_buffer_size = 65536", "SELECT @@sort_buffer_size"),
    "sql_mode": ("SET SESSION sql_mode = 'ANSI'", "SELECT @@sql_mode"),
    "foreign keys": ("SET foreign_key_checks = 0", "SELECT @@foreign_key_checks"),
    "time zone": ("SET time_zone = '+09:00'", "SELECT @@time_zone"),
    "isolation level": (
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT @@tx_isolation",
    ),
    "read-only session": ("SET SESSION TRANSACTION READ ONLY", "SELECT @@tx_read_only"),
    "user variable": ("SET @tenant = 'acme'", "SELECT @tenant"),
    "named lock": ("SELECT GET_LOCK('left_behind', 0)", "SELECT IS_USED_LOCK('left_behind')"),
    "temporary table": (
        "CREATE TEMPORARY TABLE resets (left_behind integer)",
        "SHOW COLUMNS FROM resets",
    ),
    "selected database": ("USE mysql", "SELECT DATABASE()"),
    "prepared statement": (
        "PREPARE left_behind FROM 'SELECT 1'",
        "SHOW SESSION STATUS LIKE 'Prepared_stmt_count'",
    ),
    "character set": (
        "SET NAMES latin1",
        "SELECT @@character_set_client, @@character_set_results, @@collation_connection",
    ),
    "role": ("SET ROLE NONE", "SELECT CURRENT_ROLE()"),
}


@pytest.fixture
def use_mariadb(mariadb_database: dict[str, str], use_databases: Any) -> Callable[..., None]:
    """Point Django at MariaDB, with these options of the pool and changes of the entry."""
    vendor = Vendor("mariadb", mariadb_database)

    def use(pool: Any = True, **changes: Any) -> None:
        use_databases({"default": vendor.database(pool, **changes)})
        leave("CREATE TABLE IF NOT EXISTS resets (n integer)")
        leave("CREATE TABLE IF NOT EXISTS other_resets (n integer)")

    return use


@pytest.mark.parametrize(("statement", "look"), MARIADB_LEFTOVERS.values(), ids=MARIADB_LEFTOVERS)
def test_session_reset_on_mariadb__clears(use_mariadb: Any, statement: str, look: str) -> None:
    use_mariadb(SESSION)
    before = query(look)
    connection.close()
    leave(statement)
    assert query(look) == before


def test_session_reset_on_mariadb__keeps_the_connection(use_mariadb: Any) -> None:
    use_mariadb(SESSION)
    session = query("SELECT CONNECTION_ID()")
    assert seen_by_the_next_user("SELECT CONNECTION_ID()") == session
    assert connects() == 1


def test_session_reset_on_mariadb__keeps_what_django_and_the_options_set(use_mariadb: Any) -> None:
    use_mariadb(
        SESSION,
        OPTIONS={
            "init_command": "SET time_zone = '+02:00'; SET max_statement_time = 7",
            "sql_mode": "STRICT_ALL_TABLES",
            "isolation_level": "repeatable read",
            "collation": "utf8mb4_bin",
            "charset": "utf8mb4",
        },
    )
    look = (
        "SELECT @@time_zone, @@max_statement_time, @@sql_mode, @@tx_isolation, @@autocommit,"
        " @@collation_connection"
    )
    before = query(look)
    assert before == (("+02:00", 7.0, "STRICT_ALL_TABLES", "REPEATABLE-READ", 1, "utf8mb4_bin"),)
    assert seen_by_the_next_user(look) == before
    assert connects() == 1


def test_session_reset_on_mariadb__asks_for_the_password_of_now(use_mariadb: Any) -> None:
    asked = []

    def token() -> str:
        asked.append(1)
        return "open-sesame"

    use_mariadb(SESSION, PASSWORD="", OPTIONS={"password": token})
    before = len(asked)
    leave("SELECT 1")
    assert len(asked) == before + 1
    assert connects() == 1


def test_session_reset_with_a_password_that_is_refused__opens_another_connection(
    use_mariadb: Any, mariadb_database: dict[str, str]
) -> None:
    use_mariadb(SESSION)
    query("SET @tenant = 'acme'")
    password = connection.settings_dict["PASSWORD"]
    connection.settings_dict["PASSWORD"] = "wrong"
    assert pools["default"].status().checkedout == 1  # and the pool has seen the settings
    connection.close()
    connection.settings_dict["PASSWORD"] = password
    assert query("SELECT @tenant") == ((None,),)
    assert connects() == 2


# -- "rollback" on MariaDB, where it is not enough to roll back -----------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "LOCK TABLES resets WRITE",
        "/* why */ lock table resets read",
        "FLUSH TABLES resets WITH READ LOCK",
        "FLUSH TABLES resets FOR EXPORT",
        "SET autocommit = 0; LOCK TABLES resets WRITE",
    ],
)
def test_locked_tables__are_unlocked(use_mariadb: Any, statement: str) -> None:
    use_mariadb(ONE)
    with pools["default"].connection() as raw:
        cursor = raw.cursor()
        cursor.execute(statement)
        while cursor.nextset():
            pass
    assert query("SELECT count(*) FROM other_resets") == ((0,),)
    assert connects() == 1


@pytest.mark.parametrize("statements", [[], ["XA END 'left_behind'"]], ids=["active", "ended"])
def test_xa_transaction__closes_the_connection(use_mariadb: Any, statements: list[str]) -> None:
    use_mariadb(ONE)
    leave("XA START 'left_behind'", "INSERT INTO resets VALUES (1)", *statements)
    assert query("SELECT count(*) FROM resets") == ((0,),)
    assert connects() == 2


# -- "session" on SQLite -----------------------------------------------------------------------


def test_session_reset_on_sqlite__opens_anew(tmp_path: Any, use_databases: Any) -> None:
    database = Vendor("sqlite", {"NAME": str(tmp_path / "db.sqlite3")}).database(SESSION)
    use_databases({"default": database})

    def look() -> list[Any]:
        with pools["default"].connection() as raw:
            statements = (
                "PRAGMA foreign_keys",
                "PRAGMA busy_timeout",
                "PRAGMA query_only",
                "PRAGMA database_list",
                "SELECT name FROM temp.sqlite_schema",
                "SELECT count(*) FROM pragma_function_list WHERE name = 'left_behind'",
                "SELECT count(*) FROM pragma_collation_list WHERE name = 'left_behind'",
            )
            return [raw.execute(statement).fetchall() for statement in statements]

    before = look()
    with pools["default"].connection() as raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("PRAGMA busy_timeout = 1")
        raw.execute("ATTACH ':memory:' AS left_behind")
        raw.execute("CREATE TEMPORARY TABLE left_behind (n)")
        raw.execute("PRAGMA query_only = ON")
        raw.create_function("left_behind", 0, int)
        raw.create_collation("left_behind", lambda a, b: 0)
    assert look() == before


def test_session_reset_on_sqlite__loses_nothing(tmp_path: Any, use_databases: Any) -> None:
    database = Vendor("sqlite", {"NAME": str(tmp_path / "db.sqlite3")}).database(SESSION)
    use_databases({"default": database})
    lost = []

    def note(**told: Any) -> None:
        lost.append(told)

    connection_lost.connect(note)
    try:
        for _ in range(3):
            connection.ensure_connection()
            connection.close()
    finally:
        connection_lost.disconnect(note)
    status = pools["default"].status()
    assert (status.closes, status.recycled, status.lost) == (3, 3, 0)
    assert lost == []


# -- attributes of the raw connection, in both modes ---------------------------------------------

both_modes = pytest.mark.parametrize("reset", ["rollback", "session"])


class OtherCursor(psycopg.Cursor[Any]):
    pass


class OtherServerCursor(psycopg.ServerCursor[Any]):
    pass


def set_to(name: str, value: Any) -> Callable[[Any], object]:
    return lambda raw: setattr(raw, name, value)


PSYCOPG_CHANGES: dict[str, Callable[[Any], object]] = {
    "autocommit": set_to("autocommit", False),
    "isolation_level": set_to("isolation_level", psycopg.IsolationLevel.SERIALIZABLE),
    "read_only": set_to("read_only", True),
    "deferrable": set_to("deferrable", True),
    "cursor_factory": set_to("cursor_factory", OtherCursor),
    "server_cursor_factory": set_to("server_cursor_factory", OtherServerCursor),
    "row_factory": set_to("row_factory", psycopg.rows.dict_row),
    "prepare_threshold": set_to("prepare_threshold", 3),
    "prepared_max": set_to("prepared_max", 7),
    "by method": lambda raw: raw.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE),
    "notice handler": lambda raw: raw.add_notice_handler(print),
    "notify handler": lambda raw: raw.add_notify_handler(print),
    "loader": lambda raw: raw.adapters.register_loader("numeric", FloatLoader),
    "dumper": lambda raw: raw.adapters.register_dumper(complex, StrDumper),
    "of one's own": set_to("tenant", "acme"),
}


def state_of_psycopg(raw: Any) -> dict[str, Any]:
    adapters = raw.adapters
    return {
        "public": [
            getattr(raw, name)
            for name in (
                "autocommit",
                "isolation_level",
                "read_only",
                "deferrable",
                "cursor_factory",
                "server_cursor_factory",
                "row_factory",
                "prepare_threshold",
                "prepared_max",
            )
        ],
        "handlers": (list(raw._notice_handlers), list(raw._notify_handlers)),
        "loader": adapters.get_loader(
            psycopg.adapters.types["numeric"].oid, psycopg.pq.Format.TEXT
        ),
        "dumpers": complex in adapters._dumpers[psycopg.adapt.PyFormat.AUTO],
        "own": hasattr(raw, "tenant"),
    }


@both_modes
@pytest.mark.parametrize("change", PSYCOPG_CHANGES.values(), ids=PSYCOPG_CHANGES)
def test_attribute_of_psycopg__is_restored(
    use_postgresql: Any, reset: str, change: Callable[[Any], object]
) -> None:
    options = {"isolation_level": psycopg.IsolationLevel.REPEATABLE_READ, "prepare_threshold": 9}
    use_postgresql({**ONE, "reset": reset}, OPTIONS=options)
    with pools["default"].connection() as raw:
        before = state_of_psycopg(raw)
        change(raw)
        assert state_of_psycopg(raw) != before
    with pools["default"].connection() as again:
        assert again is raw
        assert state_of_psycopg(again) == before


@both_modes
def test_handlers_of_each_request__do_not_pile_up(use_postgresql: Any, reset: str) -> None:
    use_postgresql({**ONE, "reset": reset})
    heard: list[str] = []

    def prepare(connection: Any, **kwargs: Any) -> None:
        raw = connection.connection
        raw.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        raw.cursor_factory = type("Traced", (raw.cursor_factory,), {})
        raw.adapters.register_loader("numeric", FloatLoader)

    connection_created.connect(prepare)
    try:
        for _ in range(3):
            heard.clear()
            assert query("SELECT 1.5::numeric") == [(1.5,)]
            query("DO $$ BEGIN RAISE NOTICE 'once'; END $$")
            assert heard == ["once"]
            connection.close()
    finally:
        connection_created.disconnect(prepare)
    with pools["default"].connection() as raw:
        assert "Traced" not in [kind.__name__ for kind in raw.cursor_factory.__mro__]
    assert connects() == 1


def test_pipeline_left_open__closes_the_connection(use_postgresql: Any) -> None:
    use_postgresql(ONE)
    with pools["default"].connection() as raw:
        pipeline = raw.pipeline()
        pipeline.__enter__()
    assert pools["default"].status().open == 0
    del pipeline
    assert query("SELECT 1") == [(1,)]


MYSQLDB_CHANGES: dict[str, Callable[[Any], object]] = {
    "autocommit": lambda raw: raw.autocommit(False),
    "cursorclass": set_to("cursorclass", MySQLdb.cursors.DictCursor),
    "encoders": set_to("encoders", {}),
    "encoder": lambda raw: raw.encoders.__setitem__(complex, repr),
    "encoder removed": lambda raw: raw.encoders.__delitem__(bool),
    "encoders updated": lambda raw: raw.encoders.update({complex: repr}),
    "converter": lambda raw: raw.converter.__setitem__(MySQLdb.constants.FIELD_TYPE.LONG, str),
    "converters": set_to("converter", {}),
    "executemany_fallback": set_to("executemany_fallback", "multi"),
    "encoding": set_to("encoding", "latin1"),
    "messages": lambda raw: (raw.messages.append("hello"), setattr(raw, "tenant", 1)),
    "of one's own": set_to("tenant", "acme"),
}


def state_of_mysqldb(raw: Any) -> dict[str, Any]:
    raw.query(b"SELECT @@collation_connection")
    return {
        "autocommit": raw.get_autocommit(),
        "character set": raw.character_set_name(),
        "collation": raw.store_result().fetch_row()[0],
        "converter": dict(raw.converter),
        "encoders": dict(raw.encoders),
        "public": [
            getattr(raw, name, None)
            for name in ("cursorclass", "executemany_fallback", "encoding", "tenant")
        ],
        "messages": list(raw.messages),
    }


@both_modes
@pytest.mark.parametrize("change", MYSQLDB_CHANGES.values(), ids=MYSQLDB_CHANGES)
def test_attribute_of_mysqldb__is_restored(
    use_mariadb: Any, reset: str, change: Callable[[Any], object]
) -> None:
    use_mariadb({**ONE, "reset": reset})
    with pools["default"].connection() as raw:
        before = state_of_mysqldb(raw)
        change(raw)
        assert state_of_mysqldb(raw) != before
    with pools["default"].connection() as again:
        assert again is raw
        assert state_of_mysqldb(again) == before


@both_modes
@pytest.mark.parametrize("collation", [("latin1", ""), ("utf8mb4", "utf8mb4_bin")])
def test_character_set_of_mysqldb__goes_with_the_connection(
    use_mariadb: Any, reset: str, collation: tuple[str, str]
) -> None:
    use_mariadb({**ONE, "reset": reset})
    with pools["default"].connection() as raw:
        before = state_of_mysqldb(raw)
        raw.set_character_set(*collation)
        assert state_of_mysqldb(raw) != before
    with pools["default"].connection() as other:
        assert other is not raw
        assert state_of_mysqldb(other) == before


SQLITE_CHANGES: dict[str, Callable[[Any], object]] = {
    "isolation_level": set_to("isolation_level", "EXCLUSIVE"),
    "row_factory": set_to("row_factory", sqlite3.Row),
    "text_factory": set_to("text_factory", bytes),
    "of one's own": set_to("tenant", "acme"),
}


@pytest.mark.parametrize("change", SQLITE_CHANGES.values(), ids=SQLITE_CHANGES)
def test_attribute_of_sqlite__is_restored(
    tmp_path: Any, use_databases: Any, change: Callable[[Any], object]
) -> None:
    vendor = Vendor("sqlite", {"NAME": str(tmp_path / "db.sqlite3")})
    use_databases({"default": vendor.database(ONE)})
    names = ("isolation_level", "row_factory", "text_factory", "tenant")

    def state(raw: Any) -> list[Any]:
        return [getattr(raw, name, None) for name in names]

    with pools["default"].connection() as raw:
        before = state(raw)
        change(raw)
        assert state(raw) != before
    with pools["default"].connection() as again:
        assert again is raw
        assert state(again) == before


SQLITE_HANDLERS: dict[str, Callable[[Any, Any], object]] = {
    "trace": lambda raw, handler: raw.set_trace_callback(handler),
    "progress": lambda raw, handler: raw.set_progress_handler(handler, 1),
    "authorizer": lambda raw, handler: raw.set_authorizer(handler),
}


@pytest.mark.parametrize("install", SQLITE_HANDLERS.values(), ids=SQLITE_HANDLERS)
def test_handler_of_sqlite__hears_nothing_of_the_next_user(
    tmp_path: Any, use_databases: Any, install: Callable[[Any, Any], object]
) -> None:
    vendor = Vendor("sqlite", {"NAME": str(tmp_path / "db.sqlite3")})
    use_databases({"default": vendor.database(ONE)})
    heard: list[Any] = []

    def handler(*args: Any) -> int:
        heard.append(args)
        return 0

    work = "WITH RECURSIVE n(x) AS (SELECT 1 UNION SELECT x + 1 FROM n LIMIT 99) SELECT * FROM n"
    with pools["default"].connection() as raw:
        install(raw, handler)
        raw.execute(work).fetchall()
    assert heard
    heard.clear()
    with pools["default"].connection() as again:
        assert again is raw
        again.execute(f"{work} -- not what the driver has prepared").fetchall()
    assert heard == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="attribute of Python 3.12")
@pytest.mark.parametrize("autocommit", [True, False])
def test_autocommit_of_sqlite__leaves_no_transaction_open(
    tmp_path: Any, use_databases: Any, autocommit: bool
) -> None:
    vendor = Vendor("sqlite", {"NAME": str(tmp_path / "db.sqlite3")})
    use_databases({"default": vendor.database(ONE)})
    query("CREATE TABLE t (n)")
    connection.close()
    with pools["default"].connection() as raw:
        raw.autocommit = autocommit
        if autocommit:
            raw.execute("BEGIN")
        raw.execute("INSERT INTO t VALUES (1)")
    with pools["default"].connection() as again:
        assert again is raw
        assert again.autocommit == sqlite3.LEGACY_TRANSACTION_CONTROL
        assert not again.in_transaction
    assert query("SELECT count(*) FROM t") == [(0,)]
