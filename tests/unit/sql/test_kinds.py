"""Which statements count as writes, told from their text."""

from __future__ import annotations

import time

import pytest
from psycopg import sql as psycopg_sql

from django_poolrouter.sql.kinds import is_write

READS = r"""
SELECT 1
select 1
SELECT "shop_book"."id" FROM "shop_book" WHERE "shop_book"."updated" > 1
SELECT deleted, insertion, merged, intonation FROM t
(SELECT 1) UNION (SELECT 2)
((SELECT 1) UNION (SELECT 2)) ORDER BY 1
SELECT * FROM t FOR UPDATE
SELECT * FROM t FOR UPDATE OF t SKIP LOCKED
SELECT * FROM t FOR NO KEY UPDATE NOWAIT
SELECT * FROM t for  update
SELECT * FROM t FOR SHARE
SELECT * FROM t LOCK IN SHARE MODE
WITH a AS (SELECT 1) SELECT * FROM a
with recursive a as (select 1 union select 2) select * from a
VALUES (1), (2)
TABLE t
EXPLAIN SELECT 1
EXPLAIN ANALYZE SELECT 1
SHOW server_version
DESCRIBE t
DESC t
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED
SET timezone = 'UTC'
RESET ALL
BEGIN
START TRANSACTION
COMMIT
ROLLBACK
ROLLBACK TO SAVEPOINT "s1"
SAVEPOINT "s1"
RELEASE SAVEPOINT "s1"
DECLARE c CURSOR FOR SELECT 1
FETCH FORWARD 10 FROM c
CLOSE c
LISTEN channel
PRAGMA foreign_keys
-- why\nSELECT 1
-- why\n  -- else\n  SELECT 1
/* why */ SELECT 1
/* INSERT */ SELECT 1
-- DELETE\nSELECT 1
/* one *//* two */(SELECT 1)
/*\n * two lines\n */\nSELECT 1
\n\t  SELECT 1
""".strip().splitlines()

WRITES = r"""
INSERT INTO t VALUES (1)
insert into t values (1)
UPDATE t SET n = 1
DELETE FROM t
MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE
REPLACE INTO t VALUES (1)
TRUNCATE t
CREATE TABLE t (n int)
ALTER TABLE t ADD n int
DROP TABLE t
GRANT SELECT ON t TO u
CALL work()
call work()
DO $$ BEGIN DELETE FROM t; END $$
COPY t FROM STDIN
LOAD DATA INFILE 'f' INTO TABLE t
EXECUTE prepared
NOTIFY channel
LOCK TABLE t
REFRESH MATERIALIZED VIEW v
WITH a AS (INSERT INTO t VALUES (1) RETURNING n) SELECT * FROM a
WITH a AS (SELECT 1) UPDATE t SET n = 1
with a as (select 1) delete from t
WITH a AS (SELECT * FROM t FOR UPDATE) UPDATE t SET n = 1
WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a FOR UPDATE
SELECT * INTO copied FROM t
EXPLAIN ANALYZE DELETE FROM t
EXPLAIN (ANALYZE) INSERT INTO t VALUES (1)
SELECT 1; DELETE FROM t
BEGIN; UPDATE t SET n = 1; COMMIT
SELECT 1; TRUNCATE t
SELECT 1; CALL work()
-- SELECT\nDELETE FROM t
/* SELECT */ DELETE FROM t
/* /* nested */ */ DELETE FROM t
# why\nDELETE FROM t
/*! DELETE FROM t */
;DELETE FROM t
""".strip().splitlines()


@pytest.mark.parametrize("sql", READS)
def test_is_write__is_false_for_reads(sql: str) -> None:
    assert not is_write(sql.replace("\\n", "\n").replace("\\t", "\t"))


@pytest.mark.parametrize("sql", WRITES)
def test_is_write__is_true_for_writes(sql: str) -> None:
    assert is_write(sql.replace("\\n", "\n"))


@pytest.mark.parametrize("sql", ["", "  \n", "()", "-- nothing"])
def test_is_write__takes_what_does_nothing_calmly(sql: str) -> None:
    assert is_write(sql) is (sql.strip() != "")


@pytest.mark.parametrize(
    "sql", [psycopg_sql.SQL("SELECT {}").format(1), psycopg_sql.SQL("DELETE"), b"SELECT 1", None]
)
def test_is_write__is_true_in_doubt(sql: object) -> None:
    assert is_write(sql)


@pytest.mark.parametrize(
    "sql", ["SELECT 'please delete me'", 'SELECT "update" FROM t', "EXPLAIN DELETE FROM t"]
)
def test_is_write__would_rather_raise_a_false_alarm(sql: str) -> None:
    assert is_write(sql)


def seconds_for(sql: str) -> float:
    """Return the CPU seconds that this thread needs for one answer; a busy machine adds none."""
    began = time.thread_time()
    is_write(sql)
    return time.thread_time() - began


@pytest.mark.parametrize(
    "sql", ["(" * 50_000, "/*" * 50_000, "--\n" * 50_000 + "1", "select " * 50_000]
)
def test_is_write__takes_no_long_time(sql: str) -> None:
    """About 0.02 s; an expression that goes over the text again at each word takes 20."""
    assert seconds_for(sql) < 1


@pytest.mark.parametrize(
    "sql", [" " * 50_000 + "1", "/**/" * 50_000 + "1"], ids=["blanks", "comments"]
)
def test_is_write__takes_no_long_time_for_text_that_begins_with_no_word(sql: str) -> None:
    """Some milliseconds; with an expression that backtracks, each character doubles the time."""
    assert seconds_for(sql) < 1
