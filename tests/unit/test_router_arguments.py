"""Each method of the router takes what Django's routers are given, and keeps none of it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps.registry import Apps
from django.core.cache.backends.db import BaseDatabaseCache
from django.db import models, router
from django.db.migrations.state import ModelState, ProjectState
from django.utils.functional import SimpleLazyObject
from hypothesis import given
from hypothesis import strategies as st

from django_poolrouter import scope
from django_poolrouter.process.registry import registry
from django_poolrouter.router import PoolRouter
from django_poolrouter.routing import Scope
from tests.support.testapp.billing.models import Invoice, Receipt
from tests.support.testapp.shop.models import Book
from tests.unit.test_router import databases


@pytest.fixture(autouse=True)
def clusters(use_databases: Any, tmp_path: Path) -> Iterator[None]:
    use_databases(databases(tmp_path))
    with scope(Scope(sticky=False)):
        yield


def historical() -> Any:
    state = ProjectState()
    state.add_model(ModelState.from_model(Invoice.labels.rel.model))
    state.add_model(ModelState("billing", "Old", [("id", models.AutoField(primary_key=True))]))
    return state.apps.get_model("billing", "Old")


def of_no_app() -> Any:
    meta = type("Meta", (), {"app_label": "nowhere", "apps": Apps()})
    return type("Stray", (models.Model,), {"__module__": __name__, "Meta": meta})


def saved(model: Any = Book, alias: str = "default") -> Any:
    instance = model(pk=1)
    instance._state.db, instance._state.adding = alias, False
    return instance


def deferred() -> Any:
    return Book.from_db("replica1", ["id"], [1])


WHAT: dict[str, Callable[[], Any]] = {
    "a class": lambda: Book,
    "a proxy": lambda: Receipt,
    "a relation's class": lambda: Book.tags.through,
    "a historical class": historical,
    "a class of no app": of_no_app,
    "the class of the database cache": lambda: BaseDatabaseCache("t", {}).cache_model_class,
    "an unsaved object": Book,
    "a saved object": saved,
    "an object of a replica": lambda: saved(alias="replica1"),
    "an object of no cluster": lambda: saved(alias="legacy"),
    "a deferred object": deferred,
    "a lazy object": lambda: SimpleLazyObject(saved),
    "a lazy unsaved object": lambda: SimpleLazyObject(Book),
    "a historical object": lambda: historical()(),
    "a proxy's object": lambda: saved(Receipt, "orders"),
}
kinds = st.sampled_from(sorted(WHAT))


@given(kinds, kinds)
def test_router__answers_for_everything_that_django_may_ask_for(one: str, other: str) -> None:
    ours = PoolRouter()
    first, second = WHAT[one](), WHAT[other]()
    for hints in ({}, {"instance": second}, {"instance": None}):
        for ask in (ours.db_for_read, ours.db_for_write):
            assert ask(first, **hints) in (
                None,
                "default",
                "replica1",
                "replica2",
                "orders",
                "orders1",
            )
        for explain in (ours.explain_read, ours.explain_write):
            explain(first, **hints)
    assert ours.allow_relation(first, second) in (None, True, False)
    for model_name in (None, "book"):
        for hint in ({}, {"model": first}):
            assert ours.allow_migrate("default", "shop", model_name, **hint) in (True, False)


@pytest.mark.parametrize("what", ["an unsaved object", "a lazy unsaved object"])
def test_object_in_place_of_its_class__is_routed_as_its_class(what: str) -> None:
    assert router.db_for_write(WHAT[what]()) == "default"  # type: ignore[arg-type]
    assert router.db_for_read(WHAT[what]()) in ("replica1", "replica2")  # type: ignore[arg-type]


def test_object__is_not_kept() -> None:
    book = saved()
    router.db_for_write(book)  # type: ignore[arg-type]
    kept = weakref.ref(book)
    del book
    gc.collect()
    assert kept() is None


def test_classes_made_on_the_way__are_not_kept() -> None:
    before = len(registry.topology.homes)
    for _ in range(50):
        router.db_for_read(of_no_app())
        router.db_for_read(historical())
    assert len(registry.topology.homes) == before
