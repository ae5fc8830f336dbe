"""What requests send to each vendor: logins, changes of the session, and looks at it.

`{user}` is one of the thread's users, `{lock}` a lock that only this thread asks for, and
`{thread}` the number of the thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from MySQLdb.cursors import DictCursor

THREADS = 8
USERS = 3
Params = tuple[Any, ...]
Statement = str | tuple[str, Params]
Call = Callable[[Any, str], object]


def owners(thread: int) -> list[str]:
    """Return the names of the users of one thread."""
    return [f"user-{thread}-{number}" for number in range(USERS)]


NOTES = [
    f"INSERT INTO notes VALUES ('{owner}', 'note of {owner}')"
    for thread in range(THREADS)
    for owner in owners(thread)
]


@dataclass(frozen=True)
class Dialect:
    """What a vendor understands.

    Args:
        tables: makes the tables, in an empty database.
        logins: say who the user is, until the session ends.
        short_logins: the same until the transaction ends.
        notes: read the notes of the user; an anonymous user sees none, or gets an error.
        changes: leave something in the session, or need something that is left there.
        looks: show what is left in the session.
        calls: methods of the driver's connection, with the name of the user.
        greeting: what a receiver of ``connection_created`` sends for each request.
        gone: asks on another connection whether a session has ended; "" if the end waits.

    """

    tables: Sequence[str]
    logins: Sequence[Statement]
    short_logins: Sequence[Statement]
    notes: Sequence[str]
    changes: Sequence[Statement]
    looks: Sequence[str]
    calls: Mapping[str, Call]
    greeting: Sequence[str]
    gone: str = ""
    session_id: str = ""


POSTGRESQL = Dialect(
    tables=(
        "CREATE TABLE notes (owner text, body text)",
        *NOTES,
        "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON notes"
        " USING (owner = nullif(current_setting('app.user_id', true), ''))",
        "ALTER TABLE notes FORCE ROW LEVEL SECURITY",
        "GRANT SELECT ON notes TO hammer_guest",
        "CREATE TABLE moments AS SELECT '2026-01-01 12:00:00+00'::timestamptz AS moment",
        "CREATE SCHEMA other",
        "CREATE TABLE place AS SELECT 'public' AS name",
        "CREATE TABLE other.place AS SELECT 'other' AS name",
        "CREATE FUNCTION move_clock() RETURNS text LANGUAGE SQL AS"
        " 'SELECT set_config(''TimeZone'', ''Asia/Tokyo'', false)'",
    ),
    logins=(
        "SET app.user_id = '{user}'",
        "set session app.user_id to '{user}'",
        "SELECT set_config('app.user_id', '{user}', false)",
        ("SELECT set_config('app.user_id', %s, false)", ("{user}",)),
        ("SELECT set_config('app.user_id', %s, %s)", ("{user}", False)),
        "/* who */ SET app.user_id = '{user}'; SELECT 1",
        "WITH login AS (SELECT set_config('app.user_id', '{user}', false)) SELECT * FROM login",
        "DO $$ BEGIN PERFORM set_config('app.user_id', '{user}', false); END $$",
    ),
    short_logins=(
        "SET LOCAL app.user_id = '{user}'",
        "SELECT set_config('app.user_id', '{user}', true)",
        ("SELECT set_config('app.user_id', %s, true)", ("{user}",)),
    ),
    notes=("SELECT body FROM notes ORDER BY body", "SELECT count(*) FROM notes"),
    changes=(
        "SET ROLE hammer_guest",
        "SET SESSION ROLE hammer_guest",
        "RESET ROLE",
        "SET TIME ZONE 'Asia/Tokyo'",
        "SET timezone TO 'America/New_York'",
        "SET LOCAL TIME ZONE 'Asia/Tokyo'",
        "SELECT move_clock()",
        "SET statement_timeout = '77s'",
        "SET LOCAL statement_timeout = '78s'",
        "SET lock_timeout = '66s'",
        "SET search_path TO other, public",
        "SET DateStyle TO German",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET default_transaction_isolation = 'repeatable read'",
        "UPDATE pg_settings SET setting = '55s' WHERE name = 'lock_timeout'",
        "CREATE TEMP TABLE basket (n int)",
        "CREATE TEMP TABLE basket AS SELECT 5 AS n",
        "CREATE TEMPORARY TABLE basket ON COMMIT DROP AS SELECT 6 AS n",
        "SELECT 7 AS n INTO TEMP basket",
        "CREATE TABLE pg_temp.basket AS SELECT 8 AS n",
        "SELECT n FROM basket",
        "INSERT INTO basket VALUES (1)",
        "DROP TABLE basket",
        "SELECT pg_try_advisory_lock({lock})",
        "SELECT pg_try_advisory_lock_shared({lock})",
        "SELECT pg_try_advisory_xact_lock({lock})",
        "SELECT pg_advisory_unlock({lock})",
        "PREPARE plan AS SELECT 7",
        "EXECUTE plan",
        "DEALLOCATE plan",
        "DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 9)",
        "FETCH 2 FROM held",
        "CLOSE held",
        "LISTEN hammer",
        "UNLISTEN *",
        "DISCARD ALL",
        "DISCARD TEMP",
        "RESET ALL",
        "RESET app.user_id",
    ),
    looks=(
        "SELECT current_user, session_user, current_setting('TimeZone'),"
        " current_setting('DateStyle'), nullif(current_setting('app.user_id', true), ''),"
        " nullif(current_setting('app.site', true), ''), current_setting('statement_timeout'),"
        " current_setting('lock_timeout'), current_setting('search_path'),"
        " current_setting('default_transaction_read_only'),"
        " current_setting('default_transaction_isolation'),"
        " (SELECT count(*) FROM pg_prepared_statements WHERE from_sql),"
        " (SELECT count(*) FROM pg_listening_channels()),"
        " (SELECT count(*) FROM pg_cursors WHERE is_holdable),"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
        " (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema())",
        "SELECT moment::text FROM moments",
        "SELECT name FROM place",
    ),
    calls={
        "execute": lambda raw, user: raw.execute("SET TIME ZONE 'Asia/Tokyo'"),
        "a cursor": lambda raw, user: raw.cursor().execute(f"SET app.user_id = '{user}'"),
        "executemany": lambda raw, user: raw.cursor().executemany(
            "SELECT set_config('app.user_id', %s, false)", [("another",), (user,)]
        ),
        "a stream": lambda raw, user: list(
            raw.cursor().stream("SELECT set_config('app.user_id', %s, false)", [user])
        ),
    },
    greeting=("SET app.site = 'shop'",),
    session_id="SELECT pg_backend_pid()",
    gone="SELECT count(*) FROM pg_stat_activity WHERE pid = %s",
)


def _query(raw: Any, user: str) -> None:
    raw.query(f"SET @user = '{user}'")
    raw.store_result()


MARIADB = Dialect(
    tables=(
        "CREATE TABLE notes (owner varchar(50), body varchar(50))",
        *NOTES,
        "CREATE FUNCTION current_owner() RETURNS varchar(50) NOT DETERMINISTIC NO SQL"
        " RETURN CONVERT(@user USING utf8mb4)",
        "CREATE VIEW my_notes AS SELECT body FROM notes WHERE owner = current_owner()",
        "CREATE TABLE moments (moment timestamp)",
        "INSERT INTO moments VALUES (FROM_UNIXTIME(1767268800))",
        *(f"CREATE TABLE lockable{thread} (n int)" for thread in range(THREADS)),
    ),
    logins=(
        "SET @user = '{user}'",
        "SET @user := '{user}', @other = 1",
        ("SET @user = %s", ("{user}",)),
        "SELECT '{user}' INTO @user",
        "SELECT @user := '{user}'",
        "/*! SET @user = '{user}' */",
        "BEGIN NOT ATOMIC SET @user = '{user}'; END",
        "EXECUTE IMMEDIATE 'SET @user = ''{user}'''",
    ),
    short_logins=("SET STATEMENT max_statement_time = 50 FOR SELECT body FROM my_notes",),
    notes=(
        "SELECT body FROM my_notes ORDER BY body",
        "SELECT body FROM notes WHERE owner = current_owner()",
        "SELECT count(*) FROM my_notes",
    ),
    changes=(
        "SET time_zone = '+09:00'",
        "SET SESSION time_zone = '-05:00'",
        "SET LOCAL time_zone = '+03:00'",
        "SET @@time_zone = '+01:00'",
        "SET @@session.time_zone = '+02:00', @zone = 1",
        "SET sql_mode = ''",
        "SET sql_mode = 'PIPES_AS_CONCAT'",
        "SET SESSION max_statement_time = 77",
        "SET SESSION TRANSACTION READ ONLY",
        "SET TRANSACTION READ ONLY",
        "SET foreign_key_checks = 0",
        "SET autocommit = 0",
        "SET NAMES latin1",
        "USE information_schema",
        "CREATE TEMPORARY TABLE basket (n int)",
        "CREATE TEMPORARY TABLE basket AS SELECT 5 AS n",
        "SELECT n FROM basket",
        "INSERT INTO basket VALUES (1)",
        "DROP TEMPORARY TABLE basket",
        "SELECT GET_LOCK('{lock}', 0)",
        "DO GET_LOCK('{lock}', 0)",
        "SELECT RELEASE_LOCK('{lock}')",
        "SELECT IS_FREE_LOCK('{lock}')",
        "LOCK TABLES lockable{thread} WRITE",
        "UNLOCK TABLES",
        "HANDLER lockable{thread} OPEN",
        "HANDLER lockable{thread} CLOSE",
        "PREPARE plan FROM 'SELECT 7'",
        "EXECUTE plan",
        "DEALLOCATE PREPARE plan",
        "SET SESSION tx_isolation = 'READ-UNCOMMITTED'",
    ),
    looks=(
        "SELECT @@time_zone, @@sql_mode, @@max_statement_time, @@tx_read_only, @@autocommit,"
        " @@foreign_key_checks, @@character_set_client, @@tx_isolation, @@wait_timeout,"
        " DATABASE() <=> 'information_schema'",
        "SELECT CAST(moment AS char) FROM moments",
        "SELECT 'a' || 'b'",
        "SELECT IS_FREE_LOCK('{lock}')",
    ),
    calls={
        "query": _query,
        "a cursor": lambda raw, user: raw.cursor().execute("SET time_zone = '+09:00'"),
        "another cursor": lambda raw, user: raw.cursor(DictCursor).execute(
            "SET @user = %s", [user]
        ),
        "select_db": lambda raw, user: raw.select_db("information_schema"),
        "set_sql_mode": lambda raw, user: raw.set_sql_mode("ANSI"),
    },
    greeting=("SET SESSION wait_timeout = 777",),
    session_id="SELECT CONNECTION_ID()",
    gone="SELECT count(*) FROM information_schema.processlist WHERE id = %s",
)

SQLITE = Dialect(
    tables=(
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE notes (owner text, body text)",
        *NOTES,
        "CREATE VIEW my_notes AS SELECT body FROM notes WHERE 0",
    ),
    logins=(
        "CREATE TEMP TABLE login AS SELECT '{user}' AS owner",
        "CREATE TABLE temp.login AS SELECT '{user}' AS owner",
        "CREATE TEMP VIEW my_notes AS SELECT body FROM notes WHERE owner = '{user}'",
        "CREATE TEMPORARY VIEW IF NOT EXISTS my_notes AS"
        " SELECT body FROM notes WHERE owner = '{user}'",
    ),
    short_logins=("SELECT '{user}'",),
    notes=(
        "SELECT body FROM notes WHERE owner = (SELECT owner FROM login)",
        "SELECT body FROM notes WHERE owner = current_owner()",
        "SELECT body FROM my_notes ORDER BY body",
    ),
    changes=(
        "PRAGMA case_sensitive_like = ON",
        "PRAGMA query_only = ON",
        "PRAGMA recursive_triggers = 1",
        "PRAGMA cache_size = -77",
        "PRAGMA main.cache_size(-78)",
        "PRAGMA foreign_keys = OFF",
        "ATTACH ':memory:' AS extra",
        "CREATE TABLE extra.basket AS SELECT 5 AS n",
        "DETACH extra",
        "CREATE TEMP TABLE basket (n)",
        "CREATE TEMP TABLE basket AS SELECT 5 AS n",
        "CREATE TEMP TRIGGER sum AFTER INSERT ON basket BEGIN DELETE FROM basket; END",
        "SELECT n FROM basket",
        "INSERT INTO basket VALUES (1)",
        "DROP TABLE basket",
        "DROP TABLE login",
        "DROP VIEW temp.my_notes",
    ),
    looks=(
        "SELECT 'a' LIKE 'A', 'a long name' LIKE 'a long%'",
        "PRAGMA query_only",
        "PRAGMA recursive_triggers",
        "PRAGMA cache_size",
        "PRAGMA foreign_keys",
        "PRAGMA synchronous",
        "SELECT name FROM pragma_database_list WHERE name = 'extra'",
        "SELECT name FROM sqlite_temp_master",
        "SELECT upper('x')",
    ),
    calls={
        "execute": lambda raw, user: raw.execute("PRAGMA case_sensitive_like = ON"),
        "a cursor": lambda raw, user: raw.cursor().execute("PRAGMA cache_size = -79"),
        "a script": lambda raw, user: raw.executescript("SELECT 1; PRAGMA cache_size = -80"),
        "a function": lambda raw, user: raw.create_function("current_owner", 0, lambda: user),
        "another function": lambda raw, user: raw.create_function("upper", 1, lambda text: user),
        "a limit": lambda raw, user: raw.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0),
    },
    greeting=("PRAGMA synchronous = OFF",),
)
DIALECTS = {"postgresql": POSTGRESQL, "mariadb": MARIADB, "sqlite": SQLITE}
