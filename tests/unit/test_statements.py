"""Which statements count as writes, and who is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from psycopg import sql as psycopg_sql

from django_poolrouter import jobs
from django_poolrouter.process.registry import Registry
from django_poolrouter.routing import BALANCERS, Cluster, Scope, Topology, parse_clusters, scope
from django_poolrouter.sql.kinds import is_write
from django_poolrouter.statements.recorder import StatementRecorder
from tests.databases import ENGINES

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


@pytest.mark.parametrize("sql", ["(" * 50_000, "/*" * 50_000, "--\n" * 50_000 + "1", "select " * 9])
def test_is_write__takes_no_long_time(sql: str) -> None:
    is_write(sql)


# -- the recorder -----------------------------------------------------------------------


class Connection:
    """What the recorder asks of one."""

    in_atomic_block = False
    connection = None

    def __init__(self, alias: str) -> None:
        self.alias = alias


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Any:
    entries = {"default": {}, "replica1": {"REPLICA_OF": "default"}}
    [config] = parse_clusters(entries, {})
    cluster = Cluster(config, BALANCERS["round_robin"])
    monkeypatch.setattr(Registry, "topology", Topology([cluster]))
    return lambda alias: StatementRecorder(Connection(alias))  # type: ignore[arg-type]


def execute(sql: str, params: Any, many: bool, context: Any) -> Any:
    return sql, params, many, context


def fail(*args: Any) -> Any:
    raise ZeroDivisionError


def test_recorder__passes_everything_on(recorder: Any) -> None:
    context = {"cursor": object()}
    for alias in ("default", "replica1"):
        result = recorder(alias)(execute, "SELECT %s", [1], False, context)
        assert result == ("SELECT %s", [1], False, context)


@pytest.mark.parametrize(
    ("alias", "sql", "wrote"),
    [
        ("default", "DELETE FROM t", {"default"}),
        ("default", "SELECT 1", set()),
        ("default", "SELECT 1 FOR UPDATE", set()),
        ("replica1", "SELECT 1", set()),
        ("replica1", "DELETE FROM t", set()),  # nothing that a read could miss
    ],
)
def test_recorder__notes_writes_on_the_primary(
    recorder: Any, alias: str, sql: str, wrote: set[str]
) -> None:
    with scope() as entered:
        recorder(alias)(execute, sql, None, False, {})
    assert entered.wrote == wrote
    assert bool(entered.pinned_for("default", 5)) is bool(wrote)


def test_recorder__notes_a_write_that_failed(recorder: Any) -> None:
    with scope() as entered, pytest.raises(ZeroDivisionError):
        recorder("default")(fail, "DELETE FROM t", None, False, {})
    assert entered.wrote == {"default"}


@pytest.mark.parametrize(("alias", "choice"), [("replica1", None), ("default", "replica1")])
def test_recorder__ends_the_turn_with_a_query_on_a_replica(
    recorder: Any, alias: str, choice: Any
) -> None:
    with scope(Scope(sticky=False)) as entered:
        entered.choose("default", "replica1")
        recorder(alias)(execute, "SELECT 1", None, False, {})
        assert entered.choice("default") == choice


# -- the recorder's place ---------------------------------------------------------------


def recorders(alias: str = "default") -> list[StatementRecorder]:
    wrappers = connections[alias].execute_wrappers
    return [wrapper for wrapper in wrappers if isinstance(wrapper, StatementRecorder)]


@pytest.fixture
def replicated(use_databases: Any, tmp_path: Path) -> None:
    """A cluster with a replica, and one without."""
    entries = {"default": {}, "copy": {"REPLICA_OF": "default"}, "orders": {"APPS": ["orders"]}}
    use_databases(
        {
            alias: {"ENGINE": ENGINES["sqlite"], "NAME": tmp_path / alias, "ROUTER": entry}
            for alias, entry in entries.items()
        }
    )


@pytest.mark.usefixtures("replicated")
def test_connection__has_one_recorder_where_there_are_replicas() -> None:
    for alias, count in (("default", 1), ("copy", 1), ("orders", 0)):
        for _ in range(3):
            connections[alias].ensure_connection()
            assert len(recorders(alias)) == count
            connections[alias].close()


@pytest.mark.usefixtures("replicated")
def test_job__sent_inside_atomic_is_pinned_before_the_first_write() -> None:
    with scope():
        for alias, known in (("default", {"default"}), ("copy", set()), ("orders", set())):
            with transaction.atomic(using=alias):
                assert set(jobs.carried()) == known
        assert jobs.carried() == {}


@pytest.mark.usefixtures("replicated")
def test_recorder__stays_when_it_came_inside_of_execute_wrapper() -> None:
    """Django takes the last wrapper off at the end of that block, whichever it is."""
    ran = []

    def own(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        ran.append(sql)
        return execute(sql, params, many, context)

    with scope() as entered:
        with connections["default"].execute_wrapper(own):
            connections["default"].ensure_connection()
        assert len(recorders()) == 1
        with connections["default"].cursor() as cursor:
            cursor.execute("CREATE TABLE t (n integer)")
    assert ran == []
    assert entered.wrote == {"default"}


@pytest.mark.usefixtures("replicated")
def test_recorder__goes_by_the_settings_of_the_moment(settings: Any) -> None:
    connections["default"].ensure_connection()
    settings.POOLROUTER = {"ROUTING": {"READ_YOUR_WRITES": "off"}}
    with scope() as entered, connections["default"].cursor() as cursor:
        cursor.execute("CREATE TABLE t (n integer)")
    assert entered.wrote == set()
