"""What the router answers to Django: no query is run and no database exists."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.cache.backends.db import BaseDatabaseCache
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models, router
from django.db.migrations.state import ModelState, ProjectState

from django_poolrouter import scope, using_primary, using_replica
from django_poolrouter.process.registry import Registry, registry
from django_poolrouter.router import PoolRouter
from django_poolrouter.routing import Chosen, Scope, current_scope, reasons
from django_poolrouter.statements.recorder import StatementRecorder, record_statements
from tests.support.doubles import Gate, Task
from tests.support.testapp.billing.models import Invoice, Label, Receipt, Tariff
from tests.support.testapp.orders.models import Line, Order
from tests.support.testapp.shop.models import Author, Book, Note, Tag

ABSTRACT = type("Meta", (), {"abstract": True})
ENGINE = "django_poolrouter.backends.sqlite3"
ROUTERS: dict[str, dict[str, Any]] = {
    "default": {},
    "replica1": {"REPLICA_OF": "default"},
    "replica2": {"REPLICA_OF": "default"},
    "orders": {"APPS": ["orders", "billing.Invoice", "billing.Label"]},
    "orders1": {"REPLICA_OF": "orders"},
    "legacy": {},
}
MODELS_ON_ORDERS = [Order, Line, Invoice, Label, Receipt, Invoice.labels.through]
MODELS_ON_DEFAULT = [Author, Book, Note, Tag, Tariff, Book.tags.through]


def databases(folder: Path, routers: dict[str, Any] = ROUTERS) -> dict[str, Any]:
    return {
        alias: {"ENGINE": ENGINE, "NAME": folder / f"{alias}.sqlite3", "ROUTER": entry}
        for alias, entry in routers.items()
    }


@pytest.fixture
def two_clusters(use_databases: Any, tmp_path: Path) -> Iterator[None]:
    """Two clusters and a database of no cluster; not one file may come into being."""
    use_databases(databases(tmp_path))
    with scope(Scope(sticky=False)):
        yield
    assert not list(tmp_path.iterdir())


pytestmark = pytest.mark.usefixtures("two_clusters")


def on(alias: str | None, model: Any, **fields: Any) -> Any:
    """Return an object as if it had been loaded from an alias."""
    instance = model(**fields)
    instance._state.db = alias
    instance._state.adding = False
    return instance


def name(model: Any) -> str:
    return str(model._meta.label)


# -- reads and writes -------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS_ON_DEFAULT, ids=name)
def test_model__of_default_is_read_from_its_replicas(model: Any) -> None:
    assert PoolRouter().db_for_write(model) == "default"
    assert PoolRouter().db_for_read(model) == "replica1"


@pytest.mark.parametrize("model", MODELS_ON_ORDERS, ids=name)
def test_model__of_another_cluster_is_read_from_its_replica(model: Any) -> None:
    assert PoolRouter().db_for_write(model) == "orders"
    assert PoolRouter().db_for_read(model) == "orders1"


def test_answer__stays_until_a_query_ran() -> None:
    assert {router.db_for_read(Book) for _ in range(5)} == {"replica1"}
    current_scope().note_read("default")
    assert {router.db_for_read(Book) for _ in range(5)} == {"replica2"}


def test_processes__of_one_read_each_do_not_all_read_from_the_same_replica() -> None:
    """As commands do, and workers with a new process for each task."""
    first = [Registry().topology.clusters["default"].take_turn() for _ in range(50)]
    assert set(first) == {"replica1", "replica2"}


def test_hint__of_an_object_in_the_cluster_does_not_matter() -> None:
    for alias in ("default", "replica2", None):
        author = on(alias, Author)
        assert router.db_for_read(Book, instance=author) == "replica1"
        assert router.db_for_write(Book, instance=author) == "default"


def test_object_of_no_cluster__is_left_to_django() -> None:
    author = on("legacy", Author)
    assert PoolRouter().db_for_read(Book, instance=author) is None
    assert PoolRouter().db_for_write(Book, instance=author) is None
    assert router.db_for_read(Book, instance=author) == "legacy"
    assert router.db_for_write(Book, instance=author) == "legacy"


def test_model_of_no_cluster__is_left_to_django(use_databases: Any, tmp_path: Path) -> None:
    use_databases(databases(tmp_path, {"default": {}, "orders": {"APPS": ["orders"]}}))
    assert router.db_for_read(Book) == "default"
    without_default = {"orders": {"APPS": ["orders"]}}
    use_databases({**databases(tmp_path, without_default), "default": {}})
    assert PoolRouter().db_for_read(Book) is None
    assert PoolRouter().db_for_write(Book) is None
    assert PoolRouter().db_for_read(Order) == "orders"


def test_database_cache__which_asks_with_no_real_model_is_served() -> None:
    cache = BaseDatabaseCache("cache_table", {})
    assert PoolRouter().db_for_read(cache.cache_model_class) == "default"  # type: ignore[attr-defined]
    assert PoolRouter().db_for_write(cache.cache_model_class) == "default"  # type: ignore[attr-defined]
    assert router.allow_migrate_model("default", cache.cache_model_class)  # type: ignore[attr-defined]
    assert not router.allow_migrate_model("replica1", cache.cache_model_class)  # type: ignore[attr-defined]


def test_historical_model__goes_where_its_model_goes() -> None:
    state = ProjectState.from_apps(apps)
    historical = state.apps.get_model("billing", "Invoice")
    assert historical is not Invoice
    assert router.db_for_write(historical) == "orders"
    assert router.db_for_write(historical.labels.through) == "orders"
    assert router.db_for_write(state.apps.get_model("billing", "Receipt")) == "orders"


def test_proxy_of_a_proxy__goes_where_its_table_is() -> None:
    state = ProjectState.from_apps(apps)
    bases, options = ("billing.receipt",), {"proxy": True}
    state.add_model(ModelState("billing", "PaidReceipt", [], options, bases, []))
    assert router.db_for_write(state.apps.get_model("billing", "PaidReceipt")) == "orders"


# -- what never goes to a replica --------------------------------------------------------


@pytest.mark.parametrize("model", [Session, ContentType, Book], ids=name)
def test_always_primary__wins_over_using_replica(
    model: Any, use_databases: Any, tmp_path: Path
) -> None:
    always = {"ALWAYS_PRIMARY": ["sessions", "contenttypes", "shop.Book"]}
    use_databases(databases(tmp_path), POOLROUTER={"ROUTING": always})
    with using_replica():
        assert router.db_for_read(model) == "default"
        assert router.db_for_read(Author) == "replica1"


@pytest.mark.parametrize("model", [Session, ContentType], ids=name)
def test_default_of_always_primary__stays_with_entries_of_ones_own(
    model: Any, use_databases: Any, tmp_path: Path
) -> None:
    use_databases(databases(tmp_path), POOLROUTER={"ROUTING": {"ALWAYS_PRIMARY": ["shop.Book"]}})
    assert router.db_for_read(model) == "default"
    removed = {"ROUTING": {"ALWAYS_PRIMARY": [f"!{model._meta.app_label}"]}}
    use_databases(databases(tmp_path), POOLROUTER=removed)
    assert router.db_for_read(model) == "replica1"


def test_model__may_be_removed_from_an_app_that_is_named(
    use_databases: Any, tmp_path: Path
) -> None:
    always = {"ALWAYS_PRIMARY": ["shop", "!shop.Book"]}
    use_databases(databases(tmp_path), POOLROUTER={"ROUTING": always})
    assert router.db_for_read(Author) == "default"
    assert router.db_for_read(Book) == "replica1"


def test_model_of_a_package__that_holds_a_queue_is_read_from_the_primary() -> None:
    base = type("Base", (models.Model,), {"__module__": "django_q.models", "Meta": ABSTRACT})
    meta = type("Meta", (), {"app_label": "own"})
    own: Any = type("Own", (base,), {"__module__": __name__, "Meta": meta})
    decision = PoolRouter().explain_read(own)
    assert decision is not None
    assert (decision.alias, decision.reason) == ("default", reasons.PACKAGE)


class Engine:
    """A module for SESSION_ENGINE that keeps sessions in a model of this project."""

    class SessionStore:
        @classmethod
        def get_model_class(cls) -> Any:
            return Tag


@pytest.mark.parametrize("read", [Tag, Author])
def test_model_of_session_engine__is_read_from_the_primary(
    read: Any, use_databases: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "engine_of_this_test", Engine)
    use_databases(databases(tmp_path), SESSION_ENGINE="engine_of_this_test")
    assert router.db_for_read(read) == ("default" if read is Tag else "replica1")


def test_answer__that_the_router_chose_is_told_from_a_name() -> None:
    chosen = router.db_for_read(Book)
    assert isinstance(chosen, Chosen)
    assert isinstance(copy.deepcopy(chosen), Chosen)
    assert type(pickle.loads(pickle.dumps(chosen))) is str  # noqa: S301
    assert type(str(chosen)) is str
    with using_replica():
        assert type(router.db_for_read(Book)) is str


def test_generic_relation__is_read_where_its_manager_writes() -> None:
    with using_replica():
        assert router.db_for_read(Note, instance=on("replica1", Book)) == "default"
        assert router.db_for_read(Note, instance=on("replica1", Author)) == "replica1"
        assert router.db_for_read(Tag, instance=on("replica1", Book)) == "replica1"
        assert router.db_for_read(Note) == "replica1"


def test_write__of_an_object_from_a_replica_makes_it_the_primarys() -> None:
    book, author = on("replica1", Book), on("replica2", Author)
    decision = PoolRouter().explain_write(Book, instance=book)
    assert decision is not None
    assert decision.reason == "writes go to the primary; the object was read from a replica"
    assert book._state.db == "replica1"
    assert router.db_for_write(Tag, instance=book) == "default"
    assert book._state.db == "replica1"
    assert router.db_for_write(Book, instance=book) == "default"
    assert book._state.db == "default"
    assert router.db_for_write(Order, instance=author) == "orders"
    assert author._state.db == "replica2"


def test_log__tells_each_decision(caplog: pytest.LogCaptureFixture) -> None:
    router.db_for_read(Book)
    with caplog.at_level("DEBUG", "django_poolrouter.router"):
        router.db_for_read(Book)
        router.db_for_write(Invoice)
        router.db_for_read(BaseDatabaseCache("t", {}).cache_model_class)  # type: ignore[attr-defined]
    assert caplog.messages == [
        "read of shop.Book: replica1 (balanced over the replicas)",
        "write of billing.Invoice: orders (writes go to the primary)",
        "read of django_cache: default (the model is of an app that ALWAYS_PRIMARY has by default)",
    ]


# -- what overrules the balance ---------------------------------------------------------


def test_using_primary__sends_reads_to_the_primary() -> None:
    with using_primary():
        assert (router.db_for_read(Book), router.db_for_read(Order)) == ("default", "orders")
    with using_primary("orders"):
        assert (router.db_for_read(Book), router.db_for_read(Order)) == ("replica1", "orders")


def test_using_replica__wins_inside_using_primary() -> None:
    with using_primary(), using_replica("orders"):
        assert (router.db_for_read(Book), router.db_for_read(Order)) == ("default", "orders1")


def test_using__bare_called_and_named_decorators() -> None:
    @using_primary
    def bare() -> str:
        return str(router.db_for_read(Book))

    @using_primary()
    def called() -> str:
        return str(router.db_for_read(Book))

    @using_primary("default")
    def named() -> str:
        return str(router.db_for_read(Book))

    @using_primary("orders")
    def other() -> str:
        return str(router.db_for_read(Book))

    assert [f() for f in (bare, called, named, other)] == ["default"] * 3 + ["replica1"]


def test_using__bare_and_called_decorators_of_coroutine_functions() -> None:
    @using_primary
    async def bare() -> str:
        return str(router.db_for_read(Book))

    @using_replica("default")
    async def named() -> str:
        return str(router.db_for_read(Book))

    @using_primary
    async def nested() -> list[str]:
        return [await bare(), await named(), str(router.db_for_read(Book))]

    assert asyncio.run(nested()) == ["default", "replica1", "default"]


@pytest.mark.parametrize("using", [using_primary, using_replica])
@pytest.mark.parametrize("alias", ["nowhere", "replica1", "legacy", ""])
def test_using__names_a_primary(using: Any, alias: str) -> None:
    told = f"No cluster has '{alias}' as its primary. The primaries are 'default', 'orders'."
    with pytest.raises(ValueError, match=told), using(alias):
        pass
    with pytest.raises(ValueError, match=told):
        using(alias)(len)(())
    assert router.db_for_read(Book) == "replica1"


def test_using__needs_no_settings_until_it_starts(use_databases: Any) -> None:
    later = using_primary("later")
    use_databases({"default": {"ENGINE": ENGINE, "NAME": "x"}, "later": {"ENGINE": ENGINE}})
    with pytest.raises(ValueError, match="The primaries are 'default'"), later:
        pass


class Atomic:
    """An open transaction, as the router sees it, that has not connected."""

    def __init__(self, alias: str) -> None:
        self.connection = connections[alias]

    def __enter__(self) -> None:
        record_statements(self.connection)  # as where it connects
        self.connection.in_atomic_block = True

    def __exit__(self, *error: object) -> None:
        self.connection.in_atomic_block = False


def test_transaction__of_the_cluster_keeps_its_reads_on_the_primary() -> None:
    with Atomic("orders"):
        assert (router.db_for_read(Book), router.db_for_read(Order)) == ("replica1", "orders")
    with Atomic("default"):
        assert (router.db_for_read(Book), router.db_for_read(Order)) == ("default", "orders1")
        with using_replica():
            assert router.db_for_read(Book) == "replica1"
    with Atomic("replica1"):
        assert router.db_for_read(Book) == "replica1"


def test_write__keeps_reads_of_its_cluster_on_the_primary() -> None:
    current_scope().note_write("orders", 60, StatementRecorder(connections["orders"]))
    assert (router.db_for_read(Book), router.db_for_read(Order)) == ("replica1", "orders")
    with using_replica():
        assert router.db_for_read(Order) == "orders1"


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (scope, "balanced over the replicas"),
        (using_primary, "using_primary"),
        (using_replica, "using_replica"),
        (lambda: Atomic("default"), "inside a transaction of the cluster"),
    ],
    ids=["scope", "using_primary", "using_replica", "atomic"],
)
def test_explain_read__says_why(prepare: Any, reason: str) -> None:
    with prepare():
        decision = PoolRouter().explain_read(Book)
    assert decision is not None
    assert decision.reason == reason
    assert PoolRouter().explain_read(Book, instance=on("legacy", Book)) is None


# -- relations --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        (("default", Author), ("replica1", Book), True),
        (("replica1", Author), ("replica2", Book), True),
        ((None, Author), ("replica2", Book), True),
        ((None, Author), (None, Book), True),
        ((None, Order), ("orders1", Line), True),
        ((None, Invoice), (None, Label), True),
        (("default", Author), ("orders", Order), False),
        (("replica1", Author), ("orders1", Order), False),
        ((None, Author), (None, Order), False),
        ((None, Tariff), (None, Invoice), False),
        (("default", Author), ("orders", Author), False),
        (("legacy", Author), ("default", Book), None),
        (("default", Author), ("legacy", Book), None),
        (("legacy", Author), ("legacy", Book), None),
        (("legacy", Author), (None, Book), None),
    ],
)
def test_allow_relation__within_a_cluster(one: Any, other: Any, answer: Any) -> None:
    assert PoolRouter().allow_relation(on(*one), on(*other)) is answer


def test_relation__is_assigned_within_a_cluster_and_refused_across() -> None:
    book = Book(author=on("replica2", Author, pk=1))
    assert book.author_id == 1
    line = on("orders1", Line)
    line.order = on("orders", Order, pk=2)
    with pytest.raises(ValueError, match="prevents this relation"):
        line.order = on("default", Order, pk=2)


# -- migrations -------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS_ON_DEFAULT, ids=name)
def test_allow_migrate__of_a_model_of_default(model: Any) -> None:
    answers = {alias: router.allow_migrate_model(alias, model) for alias in ROUTERS}
    others = ("replica1", "replica2", "orders", "orders1")
    assert answers == {"default": True, "legacy": True, **dict.fromkeys(others, False)}


@pytest.mark.parametrize("model", MODELS_ON_ORDERS, ids=name)
def test_allow_migrate__of_a_model_of_another_cluster(model: Any) -> None:
    answers = {alias: router.allow_migrate_model(alias, model) for alias in ROUTERS}
    others = ("default", "replica1", "replica2", "orders1")
    assert answers == {"orders": True, "legacy": True, **dict.fromkeys(others, False)}


@pytest.mark.parametrize(
    ("app", "model", "aliases"),
    [
        ("shop", "Book", {"default"}),
        ("orders", "Order", {"orders"}),
        ("orders", "ORDER", {"orders"}),
        ("billing", "Invoice", {"orders"}),
        ("billing", "invoice", {"orders"}),
        ("billing", "Tariff", {"default"}),
        ("billing", "NeverHeardOf", {"default"}),
        ("shop", None, {"default"}),
        ("orders", None, {"orders"}),
        ("billing", None, {"default", "orders"}),
        ("never_heard_of", None, {"default"}),
    ],
)
def test_allow_migrate__asks_for_app_and_name(app: str, model: Any, aliases: set[str]) -> None:
    answers = {alias: PoolRouter().allow_migrate(alias, app, model) for alias in ROUTERS}
    assert {alias for alias, answer in answers.items() if answer} == aliases
    assert [alias for alias, answer in answers.items() if answer is None] == ["legacy"]


def test_allow_migrate__understands_hints() -> None:
    hints = {"model_name": "Invoice", "tables": ["x"], "model": Invoice}
    assert router.allow_migrate("orders", "billing", **hints)
    assert not router.allow_migrate("default", "billing", **hints)
    assert router.allow_migrate("default", "billing", anything="else")
    assert not router.allow_migrate("replica1", "billing", anything="else")


def test_allow_migrate__of_a_join_table_asked_by_name_and_model() -> None:
    through = Invoice.labels.through
    names = ("billing", through._meta.model_name)
    assert PoolRouter().allow_migrate("orders", *names, model=through)
    assert not PoolRouter().allow_migrate("default", *names, model=through)


# -- several things at once -------------------------------------------------------------


def test_wrong_settings__are_told_at_the_first_question(use_databases: Any, tmp_path: Path) -> None:
    use_databases(databases(tmp_path, {"default": {}, "copy": {"REPLICA_OF": "defalt"}}))
    told = r"DATABASES\['copy'\]\['ROUTER'\]\['REPLICA_OF'\].*'defalt'. Did you mean 'default'\?"
    for ask in (
        lambda: router.db_for_read(Book),
        lambda: router.db_for_write(Book),
        lambda: router.allow_relation(Author(), Book()),
        lambda: using_primary("default").__enter__(),
        lambda: Book.objects.count(),
    ):
        with pytest.raises(ImproperlyConfigured, match=told):
            ask()


def test_models_of_the_tests__are_all_named_here() -> None:
    ours = [c for c in apps.get_app_configs() if c.name.startswith("tests.")]
    found = {m for config in ours for m in config.get_models(include_auto_created=True)}
    assert found == {*MODELS_ON_DEFAULT, *MODELS_ON_ORDERS}
    assert all(issubclass(model, models.Model) for model in found)


# -- the clusters --------------------------------------------------------------------------


def test_topology__is_one_for_threads_that_ask_at_once(
    two_clusters: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would learn of replicas for itself."""
    make, gate = registry._make_topology, Gate()

    def slowly(configs: Any) -> Any:
        gate()
        return make(configs)

    monkeypatch.setattr(registry, "_topology", None)
    monkeypatch.setattr(registry, "_make_topology", slowly)
    first = Task(lambda: registry.topology)
    gate.wait_for()
    others = [Task(lambda: registry.topology) for _ in range(3)]
    gate.open()
    assert {id(task.result()) for task in [first, *others]} == {id(registry.topology)}
