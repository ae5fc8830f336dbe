"""What the recorder notes of the statements that run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction

from django_poolrouter import jobs
from django_poolrouter.process.registry import Registry
from django_poolrouter.routing import BALANCERS, Cluster, Scope, Topology, parse_clusters, scope
from django_poolrouter.statements.recorder import StatementRecorder
from tests.support.databases import ENGINES


class Connection:
    """What the recorder asks of one."""

    vendor = "sqlite"
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
