"""``hold`` "transaction": a connection is kept no longer than it is needed."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import (
    DatabaseError,
    Error,
    OperationalError,
    connection,
    connections,
    models,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client
from django.urls import path

from django_poolrouter import pools
from tests.conftest import Vendor
from tests.contract.numbers import (
    SMALL,
    checkouts,
    committed,
    create_table,
    insert,
    leased,
    raw,
    select,
)
from tests.support.testapp.billing.models import Tariff


@pytest.fixture(autouse=True)
def database(vendor: Vendor, use_databases: Any) -> Vendor:
    pool = {**SMALL, "pool_size": 1, "hold": "transaction"}
    use_databases({"default": vendor.database(pool)})
    create_table()
    return vendor


def in_a_thread(work: Any) -> Any:
    """Run ``work`` in a thread, which needs the pool's only connection."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


@contextmanager
def changed_pool(**options: Any) -> Iterator[None]:
    """Have other options of the pool in the settings."""
    settings = connection.settings_dict
    before = settings["OPTIONS"]
    settings["OPTIONS"] = {**before, "pool": {**before["pool"], **options}}
    try:
        yield
    finally:
        settings["OPTIONS"] = before


def test_cursor__gives_the_connection_back_when_it_closes() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO numbers VALUES (1)")
        assert leased() == 1
    assert (leased(), raw()) == (0, None)
    kept = connection.cursor()
    kept.execute("SELECT n FROM numbers")
    assert leased() == 1
    kept.close()
    assert leased() == 0
    assert in_a_thread(select) == [1]


def test_cursors__give_it_back_when_the_last_one_closes() -> None:
    with connection.cursor() as outer:
        first = raw()
        with connection.cursor() as inner:
            inner.execute("SELECT 1")
            inner.fetchall()
        assert raw() is first
        outer.execute("SELECT 2")
        assert outer.fetchone() == (2,)
    assert leased() == 0


def test_failed_statement__gives_it_back() -> None:
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT nothing FROM nowhere")
    assert leased() == 0
    assert select() == []
    assert pools["default"].status().connects == 1


def test_dropped_cursor__gives_it_back() -> None:
    gc.disable()
    try:
        connection.cursor().execute("SELECT 1")
        assert raw() is None
        assert in_a_thread(select) == []
    finally:
        gc.enable()
    status = pools["default"].status()
    assert (status.connects, status.timeouts) == (1, 0)


def test_cursor_dropped_by_the_garbage_collector__gives_it_back() -> None:
    cycle: list[Any] = [connection.cursor()]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert in_a_thread(select) == []


def test_cursor_collected_in_another_thread__leaves_the_owner_alone() -> None:
    cycle: list[Any] = [connection.cursor()]
    cycle.append(cycle)
    del cycle
    in_a_thread(gc.collect)
    assert raw() is not None
    insert(1)
    assert in_a_thread(select) == [1]


def test_cursor_closed_in_another_thread__leaves_the_owner_alone() -> None:
    cursor = connection.cursor()
    in_a_thread(cursor.close)
    assert raw() is not None
    insert(1)
    assert leased() == 0


def test_cursor_of_an_earlier_lease__ends_no_later_one() -> None:
    old = connection.cursor()
    connection.close()
    connection.ensure_connection()
    old.close()
    assert leased() == 1
    connection.close()


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"], indirect=True)
def test_drivers_cursor__keeps_it_when_djangos_is_dropped() -> None:
    answer = connection.cursor().execute("SELECT 5")
    assert leased() == 1
    assert answer.fetchone() == (5,)
    del answer
    assert in_a_thread(select) == []


def test_atomic__gives_it_back_at_its_end() -> None:
    with transaction.atomic():
        insert(1)
        first = raw()
        assert leased() == 1
        with transaction.atomic():
            insert(2)
        assert raw() is first
    assert leased() == 0
    with suppress(ZeroDivisionError), transaction.atomic():
        insert(3)
        raise ZeroDivisionError
    assert leased() == 0
    assert committed() == [1, 2]


def test_broken_atomic__gives_it_back_at_its_end() -> None:
    insert(1)
    with pytest.raises(DatabaseError), transaction.atomic():
        insert(1)
    assert (leased(), select()) == (0, [1])


def test_hooks__run_without_a_connection_and_may_take_one() -> None:
    seen: list[Any] = []

    def hook() -> None:
        seen.append(leased())
        seen.append(in_a_thread(select))
        with transaction.atomic():
            insert(2)
            transaction.on_commit(lambda: seen.append(select()))
        seen.append(leased())

    with transaction.atomic():
        insert(1)
        transaction.on_commit(hook)
        transaction.on_commit(lambda: seen.append(in_a_thread(select)))
    assert seen == [0, [1], [1, 2], 0, [1, 2]]
    assert leased() == 0


def test_manual_transaction__keeps_it_until_autocommit_is_on() -> None:
    transaction.set_autocommit(False)
    insert(1)
    first = raw()
    transaction.commit()
    insert(2)
    transaction.rollback()
    assert raw() is first
    transaction.set_autocommit(True)
    assert leased() == 0
    assert select() == [1]


def test_cursor_opened_in_a_transaction__ends_with_it() -> None:
    insert(1, 2)
    with transaction.atomic():
        cursor = connection.cursor()
        cursor.execute("SELECT n FROM numbers")
    assert leased() == 0
    with pytest.raises(Error):
        cursor.fetchall()


def test_cursor_opened_before_a_transaction__outlives_it() -> None:
    insert(1, 2)
    with connection.cursor() as cursor:
        cursor.execute("SELECT n FROM numbers ORDER BY n")
        assert cursor.fetchone() == (1,)
        with transaction.atomic():
            insert(3)
        assert leased() == 1
        assert cursor.fetchone() == (2,)
    assert leased() == 0


def test_iterator__keeps_it_until_it_is_exhausted() -> None:
    with connection.schema_editor() as editor:
        editor.create_model(Tariff)
    try:
        Tariff.objects.bulk_create(Tariff(name=str(n)) for n in range(10))
        assert leased() == 0
        names = []
        for tariff in Tariff.objects.order_by("id").iterator(chunk_size=2):
            names.append(tariff.name)
            assert Tariff.objects.filter(pk=tariff.pk).exists()
        assert names == [str(n) for n in range(10)]
        assert leased() == 0
        rows = Tariff.objects.iterator(chunk_size=2)
        next(rows)
        del rows
        assert in_a_thread(Tariff.objects.count) == 10
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Tariff)


@pytest.mark.parametrize("vendor", ["postgresql", "mariadb"], indirect=True)
def test_chunked_cursor__reads_all_its_rows_on_one_connection() -> None:
    insert(*range(300))
    cursor = connection.chunked_cursor()
    cursor.execute("SELECT n FROM numbers ORDER BY n")
    rows = []
    while some := cursor.fetchmany(100):
        rows += some
        with connection.cursor() as other:
            other.execute("SELECT 1")
            other.fetchall()
    cursor.close()
    assert rows == [(n,) for n in range(300)]
    assert leased() == 0


@pytest.mark.parametrize("vendor", ["postgresql", "mariadb"], indirect=True)
def test_select_for_update__locks_until_the_end_of_the_block() -> None:
    insert(1)
    stop_waiting = "SELECT n FROM numbers FOR UPDATE NOWAIT"
    connection.settings_dict["OPTIONS"]["pool"] = {**SMALL, "hold": "transaction"}
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT n FROM numbers FOR UPDATE")
        other = connections["default"].copy()
        with pytest.raises(DatabaseError), other.cursor() as cursor:
            cursor.execute(stop_waiting)
    with other.cursor() as cursor:
        cursor.execute(stop_waiting)
    assert leased() == 0


def test_drivers_connection__is_there_for_who_asked_for_it() -> None:
    connection.ensure_connection()
    assert raw().cursor() is not None
    assert leased() == 1
    connection.close_if_unusable_or_obsolete()
    assert leased() == 0
    with connection.temporary_connection() as cursor:
        assert raw() is not None
        cursor.execute("SELECT 1")
    assert leased() == 0


def test_close__ends_it_as_ever() -> None:
    cursor = connection.cursor()
    connection.close()
    assert leased() == 0
    with pytest.raises(Error):
        cursor.execute("SELECT 1")
    with pytest.raises(Error):
        insert_in_closed_block()
    assert select() == []


def insert_in_closed_block() -> None:
    with transaction.atomic():
        insert(1)
        connection.close()
        insert(2)


def test_shared_wrapper__keeps_it() -> None:
    wrapper = connections["default"]
    wrapper.inc_thread_sharing()
    try:
        insert(1)
        assert leased() == 1
    finally:
        wrapper.dec_thread_sharing()
        connection.close()


def test_schema_editor__has_one_connection_for_all_it_does() -> None:
    with connection.schema_editor(atomic=False) as editor:
        first = raw()
        assert first is not None
        editor.execute("INSERT INTO numbers VALUES (1)")
        assert raw() is first
        assert editor.quote_value("x") == "'x'"
    assert leased() == 0


@pytest.mark.parametrize("vendor", ["sqlite", "mariadb"], indirect=True)  # others defer them
def test_constraint_checks__are_off_for_all_of_the_block() -> None:
    with connection.constraint_checks_disabled():
        insert(1)
        first = raw()
        assert first is not None
        insert(2)
        assert raw() is first
    assert leased() == 0


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
def test_constraint_checks__are_on_again_for_the_next_user() -> None:
    with connection.constraint_checks_disabled():
        assert pools["default"].execute("PRAGMA foreign_keys") == [(0,)]
    assert pools["default"].execute("PRAGMA foreign_keys") == [(1,)]


def test_connection_created__is_sent_for_each_statement() -> None:
    sent = []

    def note(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
        sent.append(connection.connection)

    connection_created.connect(note)
    before = checkouts()
    try:
        select()
        select()
        with transaction.atomic():
            select()
            select()
    finally:
        connection_created.disconnect(note)
    assert len(sent) == checkouts() - before == 3
    assert None not in sent


def test_full_pool_between_statements__is_an_error_and_the_end_of_nothing() -> None:
    with changed_pool(pool_timeout=0.1):
        assert select() == []
        with pools["default"].connection(), pytest.raises(OperationalError, match="waited"):
            select()
        assert select() == []
    assert leased() == 0


def test_failed_connect_between_statements__is_djangos_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert select() == []
    connection.close_pool()

    def refuse(*args: Any) -> Any:
        raise connection.Database.OperationalError("no server")

    with monkeypatch.context() as context:
        context.setattr(type(connections["default"]), "get_new_connection", refuse)
        with pytest.raises(OperationalError, match="no server"):
            select()
    assert select() == []


def test_settings_that_change__count_from_the_next_statement_on() -> None:
    assert select() == []
    pool = pools["default"]
    before = pool.status().checkouts
    with changed_pool(pool_timeout=9):
        assert select() == []
        assert pool.status().checkouts == before
    assert select() == []
    assert pool.status().checkouts == before + 1


def test_next_statement__goes_through_what_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert select() == []

    def forbid(self: Any) -> None:  # as pytest-django does outside of database tests
        raise RuntimeError("not here")

    with monkeypatch.context() as context:
        context.setattr(BaseDatabaseWrapper, "ensure_connection", forbid)
        with pytest.raises(RuntimeError, match="not here"):
            select()
    assert (leased(), raw()) == (0, None)


def test_thread_that_ends_with_an_open_cursor__gives_it_back() -> None:
    kept: list[Any] = []
    in_a_thread(lambda: kept.append(connection.cursor()))
    assert leased() == 0
    with pytest.raises(Error):
        kept[0].execute("SELECT 1")


def test_session__is_a_transaction_like_any_other() -> None:
    with pools.session("default"):
        insert(1)
        assert leased() == 1
    assert leased() == 0
    assert committed() == [1]


def test_models__are_saved_and_read() -> None:
    with connection.schema_editor() as editor:
        editor.create_model(Tariff)
    try:
        tariff = Tariff.objects.create(name="a")
        Tariff.objects.filter(pk=tariff.pk).update(name=models.Value("b"))
        tariff.refresh_from_db()
        assert (tariff.name, leased()) == ("b", 0)
        Tariff.objects.all().delete()
        assert leased() == 0
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Tariff)


def test_robust_hook__that_fails_leaves_nothing_behind() -> None:
    ran = []

    def fail() -> None:
        insert(2)
        ran.append(leased())
        raise ZeroDivisionError

    with transaction.atomic():
        transaction.on_commit(fail, robust=True)
        transaction.on_commit(lambda: ran.append(leased()))
        insert(1)
    assert ran == [0, 0]
    assert leased() == 0
    assert committed() == [1, 2]


def answer(request: HttpRequest, number: int) -> HttpResponse:
    """Write a number, if it is one, and say what is leased before and after that."""
    before = leased()
    if number:
        insert(number)
    return JsonResponse([before, leased()], safe=False)


urlpatterns = [path("<int:number>", answer)]


def test_atomic_requests__hold_it_from_the_first_statement_to_the_commit(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ROOT_URLCONF = __name__
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    before = checkouts()
    assert Client().get("/0").json() == [0, 0]
    assert checkouts() == before
    assert Client().get("/7").json() == [0, 1]
    assert leased() == 0
    assert committed() == [7]


def test_asynchronous_code__holds_nothing_between_statements() -> None:
    with connection.schema_editor() as editor:
        editor.create_model(Tariff)

    async def main() -> None:
        for name in ("day", "night"):
            await Tariff.objects.acreate(name=name)
            assert leased() == 0
        found = [(tariff.name, leased()) async for tariff in Tariff.objects.order_by("name")]
        assert found == [("day", 0), ("night", 0)]
        assert await asyncio.gather(*(Tariff.objects.acount() for _ in range(5))) == [2] * 5
        assert leased() == 0

    async_to_sync(main)()
    assert pools["default"].status().connects == 1
    with connection.schema_editor() as editor:
        editor.delete_model(Tariff)
