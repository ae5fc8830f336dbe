"""Overrides of ``connect``, ``close`` and ``_close`` beside the mixin, and patches of tools."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import ProgrammingError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_poolrouter import PoolTimeout, conf, pools
from django_poolrouter.backends.mixin import PooledDatabaseWrapper
from tests.conftest import Vendor
from tests.contract.numbers import committed, create_table, insert, select
from tests.support.engines import engine_of, stock_wrapper

HOLDS = ["request", "transaction"]
PLACES = ["behind", "before"]
SMALL = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 5}


class Noting:
    """Notes each call; says nothing of what Django does in it."""

    calls: Counter[str] = Counter()

    def connect(self) -> None:
        self.calls["connect"] += 1
        super().connect()  # type: ignore[misc]

    def close(self) -> None:
        self.calls["close"] += 1
        super().close()  # type: ignore[misc]

    def _close(self) -> None:
        self.calls["_close"] += 1
        super()._close()  # type: ignore[misc]


def wrapper_with(hooks: type, vendor: Vendor, place: str) -> type:
    """Return the documented recipe, with ``hooks`` behind the mixin or before it."""
    stock = stock_wrapper(vendor.name)
    if place == "behind":
        return type(
            "DatabaseWrapper", (PooledDatabaseWrapper, type("Behind", (hooks, stock), {})), {}
        )
    recipe = type("Recipe", (PooledDatabaseWrapper, stock), {})
    return type("DatabaseWrapper", (hooks, recipe), {})


@pytest.fixture(params=HOLDS)
def hold(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def use(vendor: Vendor, hold: str, use_databases: Any) -> Callable[..., None]:
    """Use a backend with overrides for the test's database, which has a table."""

    def use(hooks: type, place: str = "behind", **pool: Any) -> None:
        engine = engine_of(wrapper_with(hooks, vendor, place))
        options = {**SMALL, "hold": hold, **pool}
        use_databases({"default": {**vendor.database(options), "ENGINE": engine}})
        create_table()
        connection.close()
        hooks.calls = Counter()  # type: ignore[attr-defined]

    return use


@pytest.fixture(params=PLACES)
def noting(request: pytest.FixtureRequest, use: Callable[..., None]) -> Counter[str]:
    use(hooks := type("Hooks", (Noting,), {}), request.param)
    return hooks.calls


def hold_of_default() -> str:
    return str(connection.settings_dict["OPTIONS"]["pool"]["hold"])


def leases() -> int:
    return pools["default"].status().checkouts


# -- once for each lease ---------------------------------------------------------------------


def test_overrides__run_once_for_each_lease(noting: Counter[str]) -> None:
    before = leases()
    for number in (1, 3):
        select()
        insert(number)
        with transaction.atomic():
            select()
            insert(number + 1)
        with connection.cursor() as one, connection.cursor() as other:
            one.execute("SELECT 1")
            other.execute("SELECT 1")
        connection.close()
    taken = leases() - before
    assert (noting["connect"], noting["_close"]) == (taken, taken)
    # Code calls close() at the end of a request, even if no lease is left to end.
    assert noting["close"] == taken + (2 if hold_of_default() == "transaction" else 0)
    assert (
        taken
        == {"request": 2, "transaction": 8}[connection.settings_dict["OPTIONS"]["pool"]["hold"]]
    )


def test_override_that_forgets__forgets_with_each_lease(
    use: Callable[..., None], hold: str
) -> None:
    """As django-tenants: what was SET is remembered on the wrapper until ``close``."""

    class Remembers:
        remembered: object = None

        def close(self) -> None:
            self.remembered = None
            super().close()  # type: ignore[misc]

    use(Remembers)
    wrapper: Any = connections["default"]
    for _ in range(2):
        select()
        assert (wrapper.connection is None) is (hold == "transaction")
        if wrapper.connection is not None:
            wrapper.remembered = wrapper.connection
        else:
            assert wrapper.remembered is None
        with transaction.atomic():
            select()
            wrapper.remembered = wrapper.connection
        connection.close()
        assert wrapper.remembered is None


def test_override__of_close_in_the_middle_of_a_block(noting: Counter[str]) -> None:
    with pytest.raises(ProgrammingError, match="atomic block"), transaction.atomic():  # noqa: PT012
        insert(1)
        before = noting["_close"]
        connection.close()
        assert noting["_close"] == before + 1
        select()
    connection.close()
    assert committed() == []


# -- hooks of transactions -----------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_on_commit__runs_once_in_order_after_commit(use: Callable[..., None], place: str) -> None:
    use(hooks := type("Hooks", (Noting,), {}), place)
    ran: list[Any] = []
    with transaction.atomic():
        insert(1)
        transaction.on_commit(lambda: ran.append(("first", committed())))
        transaction.on_commit(lambda: ran.append(("second", select())))
        with transaction.atomic():
            transaction.on_commit(lambda: ran.append("third"))
        assert ran == []
    assert ran == [("first", [1]), ("second", [1]), "third"]
    with transaction.atomic():
        transaction.on_commit(lambda: ran.append("late"))
    assert ran[3:] == ["late"]
    connection.close()
    assert hooks.calls["close"]  # type: ignore[attr-defined]


STATE = (
    "run_on_commit",
    "in_atomic_block",
    "closed_in_transaction",
    "savepoint_ids",
    "atomic_blocks",
    "needs_rollback",
    "errors_occurred",
    "autocommit",
    "commit_on_exit",
)


def states(use_databases: Any, database: dict[str, Any]) -> list[Any]:
    """Return the wrapper's state after each step of some work."""
    found: list[Any] = []
    use_databases({"default": database})
    create_table()

    def look(*ignored: Any) -> None:
        found.append({name: getattr(connection, name) for name in STATE})

    select()
    look()
    with transaction.atomic():
        insert(1)
        transaction.on_commit(look)
        transaction.on_commit(look)
    look()
    with transaction.atomic(), transaction.atomic():
        look_count = len(found)
        insert(2)
        found.append([len(connection.savepoint_ids), connection.in_atomic_block, look_count])
    look()
    connection.close()
    pools.dispose_all()
    return found


@pytest.mark.parametrize("place", PLACES)
def test_state__is_what_it_is_without_overrides(
    vendor: Vendor, hold: str, place: str, use_databases: Any
) -> None:
    options = {**SMALL, "hold": hold}
    plain = states(use_databases, vendor.database(options))
    connection.close()
    engine = engine_of(wrapper_with(Noting, vendor, place))
    hooked = states(use_databases, {**vendor.database(options), "ENGINE": engine})
    assert repr(hooked) == repr(plain)


# -- overrides that do other things ------------------------------------------------------------


def test_override__that_does_not_call_django_ends_the_lease_all_the_same(
    use: Callable[..., None],
) -> None:
    use(type("Silent", (), {"close": lambda self: None}))
    select()
    connection.close()
    assert pools["default"].status().checkedout == 0


def test_override__may_use_the_connection(use: Callable[..., None], hold: str) -> None:
    answers: list[Any] = []

    class Asks:
        def _close(self) -> None:
            wrapper: Any = self
            with wrapper.cursor() as cursor:
                cursor.execute("SELECT 42")
                answers.append(cursor.fetchone()[0])
            super()._close()  # type: ignore[misc]

    use(Asks)
    answers.clear()
    before = leases()
    for _ in range(3):
        select()
    connection.close()
    assert answers == [42] * (leases() - before)
    assert pools["default"].status().lost == 0


def test_connection__is_not_closed_by_django_behind_an_override(noting: Counter[str]) -> None:
    select()
    connection.close()
    opened = pools["default"].status().connects
    for _ in range(3):
        select()
        connection.close()
    assert noting["_close"] >= 4
    assert pools["default"].status().connects == opened
    assert pools["default"].status().lost == 0


def test_override_that_raises__loses_neither_lease_nor_result(
    use: Callable[..., None], hold: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Raises:
        angry = False

        def close(self) -> None:
            super().close()  # type: ignore[misc]
            if self.angry:
                raise ValueError("no")

    use(Raises)
    Raises.angry = True
    if hold == "transaction":
        # The statement was done and the transaction committed: they must not seem to fail.
        with caplog.at_level(logging.ERROR, "django_poolrouter.pool"):
            with transaction.atomic():
                insert(1)
            assert select() == [1]
        assert "close()" in caplog.text
    else:
        insert(1)
        with pytest.raises(ValueError, match="no"):
            connection.close()
    Raises.angry = False
    assert pools["default"].status().checkedout == 0
    assert committed() == [1]


def test_early_end__by_the_garbage_collector_in_a_coroutine_ends_the_lease(
    vendor: Vendor, use_databases: Any
) -> None:
    engine = engine_of(wrapper_with(Noting, vendor, "behind"))
    options = {**SMALL, "hold": "transaction"}
    use_databases({"default": {**vendor.database(options), "ENGINE": engine}})
    kept = [connection.cursor()]
    kept[0].execute("SELECT 1")
    assert pools["default"].status().checkedout == 1

    async def collect() -> None:
        kept.clear()
        gc.collect()

    asyncio.run(collect())
    assert pools["default"].status().checkedout == 0


# -- a tool that patches Django's connect --------------------------------------------------------


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Patch Django's ``connect`` as sentry-sdk does."""
    spans: list[str] = []
    real = BaseDatabaseWrapper.connect

    @wraps(real)
    def connect(self: BaseDatabaseWrapper) -> None:
        spans.append("begin")
        try:
            return real(self)
        finally:
            spans.append("end")

    monkeypatch.setattr(BaseDatabaseWrapper, "connect", connect)
    return spans


def test_patched_connect__runs_where_a_connection_is_opened(
    vendor: Vendor, hold: str, use_databases: Any, traced: list[str]
) -> None:
    use_databases({"default": vendor.database({**SMALL, "hold": hold})})
    for _ in range(3):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.close()
    assert traced == ["begin", "end"]
    pools["default"].clear()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()
    assert traced == ["begin", "end"] * 2
    assert pools["default"].status().checkedout == 0


def test_patched_connect__runs_around_a_wait(
    vendor: Vendor, hold: str, use_databases: Any, traced: list[str]
) -> None:
    use_databases({"default": vendor.database({**SMALL, "pool_size": 1, "hold": hold})})
    lease = pools["default"].checkout()
    traced.clear()
    found: list[Any] = []

    def work() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                found.append(cursor.fetchone()[0])
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    while not pools["default"].status().waiting:
        pass
    assert traced == ["begin"]
    lease.pool.checkin(lease)
    thread.join()
    assert (traced, found) == (["begin", "end"], [1])


def test_patched_connect__sees_the_error_of_a_wait(
    vendor: Vendor, hold: str, use_databases: Any, traced: list[str]
) -> None:
    options = {**SMALL, "pool_size": 1, "hold": hold, "pool_timeout": 0}
    use_databases({"default": vendor.database(options)})
    lease = pools["default"].checkout()
    traced.clear()
    with pytest.raises(PoolTimeout):
        connection.ensure_connection()
    assert traced == ["begin", "end"]
    lease.pool.checkin(lease)
    connection.ensure_connection()
    connection.close()
    assert traced == ["begin", "end"]


def test_patched_connect__runs_where_the_tool_came_after_the_first_query(
    vendor: Vendor, hold: str, use_databases: Any, request: pytest.FixtureRequest
) -> None:
    use_databases({"default": vendor.database({**SMALL, "hold": hold})})
    connection.ensure_connection()
    connection.close()
    spans = request.getfixturevalue("traced")
    pools["default"].clear()
    connection.ensure_connection()
    connection.close()
    assert spans == ["begin", "end"]


# -- what cannot be run is refused ---------------------------------------------------------------


class OpensItself:
    def connect(self) -> None:
        self.connection = object()


class IsNoMethod:
    close = staticmethod(lambda: None)


def made_by(module: str) -> type:
    return type("DatabaseWrapper", (), {"__module__": module, "close": lambda self: None})


@pytest.mark.parametrize(
    ("hooks", "told"),
    [
        (OpensItself, "connect"),
        (IsNoMethod, "close"),
        (made_by("dj_db_conn_pool.backends.postgresql.base"), "pool of its own"),
        (made_by("django_db_geventpool.backends.base"), "pool of its own"),
    ],
    ids=["opens itself", "no method", "dj_db_conn_pool", "geventpool"],
)
def test_override__that_cannot_run_is_refused(
    vendor: Vendor, hooks: type, told: str, use_databases: Any
) -> None:
    engine = engine_of(wrapper_with(hooks, vendor, "behind"))
    use_databases({"default": {**vendor.database(), "ENGINE": engine}})
    [problem] = conf.problems()
    assert "DATABASES['default']['ENGINE']" in str(problem)
    assert told in str(problem)
    with pytest.raises(ImproperlyConfigured, match=told):
        connection.ensure_connection()


def test_override__that_is_a_coroutine_function_is_refused(vendor: Vendor) -> None:
    class IsAsync:
        async def close(self) -> None:
            pass

    made: Any = wrapper_with(IsAsync, vendor, "behind")
    [told] = made.refusals()
    assert "IsAsync.close is a coroutine function" in told


def test_mock_of_djangos_connect__is_no_reason_to_refuse(
    vendor: Vendor, use_databases: Any
) -> None:
    """As Django's own tests put one there: its code names nothing of Django."""
    use_databases({"default": vendor.database()})
    original = BaseDatabaseWrapper.connect
    with mock.patch.object(
        BaseDatabaseWrapper, "connect", side_effect=original, autospec=True
    ) as patched:
        pools.dispose_all()
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)
    assert patched.call_count == 1
