"""A wrong ROUTER entry is found by the check, and named wherever it is met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections, router

from tests.support.testapp.shop.models import Book

WRONG = [None, 5, "replica", ["REPLICA_OF"], True]
PLACE = r"DATABASES\['default'\]\['ROUTER'\]: must be a mapping"


@pytest.fixture(params=WRONG, ids=repr)
def wrong(request: pytest.FixtureRequest, use_databases: Any, tmp_path: Path) -> None:
    engine = "django_poolrouter.backends.sqlite3"
    entry = {"ENGINE": engine, "NAME": tmp_path / "db", "ROUTER": request.param}
    use_databases({"default": entry}, DATABASE_ROUTERS=["django_poolrouter.router.PoolRouter"])


@pytest.mark.usefixtures("wrong")
def test_wrong_entry__is_named_by_the_check() -> None:
    with pytest.raises(SystemCheckError, match=PLACE):
        call_command("check")


@pytest.mark.usefixtures("wrong")
@pytest.mark.parametrize("pool", [True, False], ids=["pooled", "not pooled"])
def test_wrong_entry__is_named_where_a_connection_is_wanted(pool: bool) -> None:
    connections["default"].settings_dict["OPTIONS"]["pool"] = pool
    with pytest.raises(ImproperlyConfigured, match=PLACE):
        connections["default"].cursor()


@pytest.mark.usefixtures("wrong")
def test_wrong_entry__is_named_where_a_query_is_routed() -> None:
    with pytest.raises(ImproperlyConfigured, match=PLACE):
        router.db_for_read(Book)


@pytest.mark.usefixtures("wrong")
def test_wrong_entry__does_not_keep_poolstatus_from_working(capsys: Any) -> None:
    call_command("poolstatus")
    assert "standalone" in capsys.readouterr().out


@pytest.mark.usefixtures("wrong")
def test_wrong_entry__keeps_migrations_from_running() -> None:
    with pytest.raises(ImproperlyConfigured, match=PLACE):
        call_command("migrate", skip_checks=True)
