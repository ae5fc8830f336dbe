"""Each example of docs/sessions.md, run with both holds."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.utils.module_loading import import_string

from django_poolrouter import pools
from tests.conftest import Vendor

PAGE = Path(__file__).parents[3] / "docs" / "sessions.md"


def example(name: str) -> Any:
    """Return what the example that defines ``name`` defines."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    [block] = [b for b in blocks if re.search(rf"^(class|def) {name}\b", b, re.MULTILINE)]
    scope: dict[str, Any] = {"__name__": "shop.examples"}
    exec(block, scope)  # noqa: S102
    return scope[name]


def query(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else None


@pytest.fixture(params=["request", "transaction"])
def pool(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0, "hold": request.param}


@pytest.fixture
def notes(pool: Any, postgresql_database: dict[str, str], use_databases: Any) -> None:
    """Rows that only their owner may see."""
    use_databases({"default": Vendor("postgresql", postgresql_database).database(pool)})
    query("DROP TABLE IF EXISTS notes")
    query("CREATE TABLE notes (owner text, body text)")
    query("INSERT INTO notes VALUES ('1', 'of user 1'), ('2', 'of user 2')")
    query("ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
    query("ALTER TABLE notes FORCE ROW LEVEL SECURITY")
    query("CREATE POLICY own ON notes USING (owner = current_setting('app.user_id', true))")
    connection.close()


def user(pk: int | None) -> Any:
    return SimpleNamespace(pk=pk, is_authenticated=pk is not None)


def marked() -> int:
    return pools["default"].status().marked


@pytest.mark.usefixtures("notes")
def test_middleware__shows_each_user_the_own_rows() -> None:
    view = example("RowLevelSecurity")(lambda request: query("SELECT body FROM notes"))
    for pk in (1, None, 2, None, 1):
        assert view(SimpleNamespace(user=user(pk))) == ([(f"of user {pk}",)] if pk else [])
        connection.close()
    assert marked() == 3


@pytest.mark.usefixtures("notes")
def test_setting_for_one_transaction__marks_nothing() -> None:
    notes_of = example("notes_of")
    for pk in (1, 2):
        assert notes_of(user(pk)) == [f"of user {pk}"]
        assert query("SELECT body FROM notes") == []
        connection.close()
    assert marked() == 0


@pytest.mark.usefixtures("notes")
def test_role__is_that_of_the_block() -> None:
    me = query("SELECT current_user")
    as_role = example("as_role")
    assert as_role("pg_monitor", lambda: query("SELECT current_user")) == [("pg_monitor",)]
    assert query("SELECT current_user") == me
    query("SET ROLE pg_monitor")  # and forget it
    connection.close()
    assert query("SELECT current_user") == me


@pytest.mark.usefixtures("notes")
def test_timeout__is_that_of_one_view() -> None:
    before = query("SHOW statement_timeout")
    assert example("report")(None) == 0
    connection.close()
    assert query("SHOW statement_timeout") == before


def test_configure__runs_once_for_each_connection_and_marks_nothing(
    pool: Any, use_databases: Any, tmp_path: Path
) -> None:
    pool["configure"] = example("prepare")
    database = Vendor("sqlite", {"NAME": str(tmp_path / "db.sqlite3")}).database(pool)
    use_databases({"default": database})
    for _ in range(2):
        assert query("SELECT 'a' LIKE 'A'") == [(0,)]
        connection.close()
    assert marked() == 0


def test_page__has_no_example_without_a_test() -> None:
    tested = {"RowLevelSecurity", "notes_of", "as_role", "report", "prepare", "DatabaseWrapper"}
    assert set(re.findall(r"^(?:class|def) (\w+)", PAGE.read_text(), re.MULTILINE)) == tested


CONNECTIONS = {
    "psycopg": "psycopg.Connection",
    "mysqlclient": "MySQLdb.connections.Connection",
    "sqlite3": "sqlite3.Connection",
}
# They change nothing for the next user.
HARMLESS = {
    "psycopg": "broken cancel cancel_safe closed commit connect connection cursor execute fileno"
    " info notifies rollback tpc_commit tpc_prepare tpc_recover tpc_rollback wait xid",
    "mysqlclient": "affected_rows character_set_name client_flag commit cursor default_cursor"
    " discard_result dump_debug_info errno error escape escape_string executemany_fallback"
    " field_count fileno get_autocommit get_character_set_info get_host_info get_proto_info"
    " get_server_info info insert_id kill literal more_results next_result open port"
    " read_query_result rollback server_capabilities show_warnings shutdown sqlstate stat"
    " store_result string_literal thread_id use_result warning_count",
    "sqlite3": "backup blobopen commit cursor execute executemany executescript getconfig getlimit"
    " in_transaction interrupt iterdump rollback serialize total_changes",
}


@pytest.mark.parametrize("driver", CONNECTIONS)
def test_table_of_methods__names_all_that_a_connection_has(driver: str) -> None:
    [row] = re.findall(rf"^\| {driver} \|(.*)$", PAGE.read_text(), re.MULTILINE)
    named = set(re.findall(r"`([\w…]+)", row))
    known = {*HARMLESS[driver].split()}

    def is_named(name: str) -> bool:
        return name in named | known or any(
            re.fullmatch(pattern.replace("…", r"\w+"), name) for pattern in named if "…" in pattern
        )

    kind = import_string(CONNECTIONS[driver])
    names = {n for n in dir(kind) if not n.startswith("_") and not n[0].isupper()}
    assert {name for name in names if not is_named(name)} == set()
