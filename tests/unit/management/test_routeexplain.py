"""manage.py routeexplain: what it says of models, clusters, other routers and statements."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_poolrouter import using_primary
from django_poolrouter.management.commands import routeexplain
from django_poolrouter.routing import reasons
from django_poolrouter.sql.marks import MARKS
from tests.unit.test_router import databases


class Foreign:
    """A router of the project, before ours."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "legacy" if model._meta.model_name == "author" else None


@pytest.fixture(autouse=True)
def _two_clusters(use_databases: Any, tmp_path: Path) -> None:
    ours = "django_poolrouter.router.PoolRouter"
    use_databases(databases(tmp_path), DATABASE_ROUTERS=[Foreign(), ours])


def explain(*args: str) -> list[str]:
    out = StringIO()
    call_command("routeexplain", *args, stdout=out, no_color=True)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_read__is_explained_rule_by_rule() -> None:
    foreign, answer, cluster, _, heading, *table = explain("shop.Book")
    assert foreign == "tests.unit.management.test_routeexplain.Foreign gives no answer."
    assert answer == "A read of shop.Book goes to 'replica1': balanced over the replicas."
    assert cluster == "Its cluster: primary 'default', replicas 'replica1', 'replica2'."
    assert heading.split() == ["RULE", "HOLDS"]
    assert [line.rsplit(maxsplit=1)[0].strip() for line in table] == list(reasons.READ)
    assert [line.split()[-1] for line in table] == ["no"] * (len(reasons.READ) - 1) + ["yes"]


def test_rules__behind_the_one_that_holds_are_not_asked() -> None:
    table = explain("sessions.Session")[5:]
    held = ["no", "yes"]
    assert [line.split()[-1] for line in table] == held + ["-"] * (len(reasons.READ) - 2)
    with using_primary():
        assert "A read of shop.Book goes to 'default': using_primary." in explain("shop.Book")


def test_write__goes_to_the_primary_of_its_cluster() -> None:
    answer = "A write of billing.Invoice goes to 'orders': writes go to the primary."
    cluster = "Its cluster: primary 'orders', replicas 'orders1'."
    assert explain("billing.invoice", "--write")[1:] == [answer, cluster]


def test_answer__of_another_router_is_told() -> None:
    told = "tests.unit.management.test_routeexplain.Foreign says so"
    assert explain("shop.Author") == [f"A read of shop.Author goes to 'legacy': {told}."]


def test_no_answer__leaves_it_to_django(use_databases: Any) -> None:
    use_databases({"default": {}, "legacy": {}}, DATABASE_ROUTERS=[])
    assert explain("shop.Author")[0].endswith("goes to 'default': no router gives an answer.")


@pytest.mark.parametrize("label", ["shop.Nothing", "nothing.Book", "shop"])
def test_model__that_is_unknown_is_an_error(label: str) -> None:
    with pytest.raises(CommandError, match=r"Name it as app_label\.ModelName"):
        explain(label)


WRITE = "a write: later reads of the scope go to the primary"
READ = "a read that another server may answer"
NEITHER = "neither a write nor a read that another server may answer"


@pytest.mark.parametrize(
    ("sql", "named", "why", "left"),
    [
        ("SELECT 'INSERT INTO t'", READ, "SELECT", "nothing"),
        ("WITH x AS (SELECT 1) DELETE FROM t", WRITE, "WITH … DELETE", "nothing"),
        ("PRAGMA cache_size = 5", NEITHER, "PRAGMA", "a setting (cache_size)"),
        ("SELECT 'a", WRITE, "in doubt: a quote is not closed", "in doubt: perhaps anything"),
        (
            "CREATE TEMP TABLE t (a)",
            WRITE,
            "CREATE",
            "a temporary table or another temporary object",
        ),
        ("-- nothing", NEITHER, "it holds no statement", "nothing"),
    ],
)
def test_statement__is_explained(sql: str, named: str, why: str, left: str) -> None:
    lines = [f"On sqlite it is {named}.", f"Why: {why}.", f"It leaves in the session: {left}."]
    assert explain("--sql", sql) == lines


def test_statement__is_read_as_the_vendor_of_the_alias_reads_it(
    use_databases: Any, tmp_path: Path
) -> None:
    other = {"ENGINE": "django_poolrouter.backends.postgresql"}
    use_databases(databases(tmp_path) | {"other": other}, DATABASE_ROUTERS=[])
    sql = "SELECT 'a\\'"
    assert explain("--sql", sql)[0] == f"On sqlite it is {READ}."
    assert explain("--sql", sql, "--database", "other") == [
        f"On postgresql it is {WRITE}.",
        "Why: in doubt: a backslash before a quote.",
        "It leaves in the session: in doubt: perhaps anything.",
    ]


def test_each_kind_of_mark__has_words() -> None:
    assert set(routeexplain._LEFT) == set(MARKS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name either a model or a statement"),
        (["shop.Book", "--sql", "SELECT 1"], "Name either a model or a statement"),
        (["shop.Book", "--database", "default"], "--database needs --sql"),
        (["--sql", "SELECT 1", "--write"], "--write needs a model"),
        (["--sql", "SELECT 1", "--database", "defualt"], "'defualt' not configured.*'default'"),
    ],
)
def test_arguments_that_do_not_fit__are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        explain(*arguments)
