"""A setting that is not declared does not make a pool, and the check says so."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.db import connections
from django.db.backends.sqlite3 import base

from django_poolrouter.backends.mixin import PooledDatabaseWrapper
from django_poolrouter.checks.identity import check_identity
from tests.support.databases import ENGINES
from tests.support.engines import engine_of


class Warehouses(PooledDatabaseWrapper, base.DatabaseWrapper):
    """Opens connections by a setting of its own."""

    identity_settings = ("WAREHOUSE",)


class Tenants(PooledDatabaseWrapper, base.DatabaseWrapper):
    """Writes into the settings as django-tenants does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_tenant("public")

    def set_tenant(self, name: str) -> None:
        self.settings_dict["SCHEMA"] = name


class Demanding(PooledDatabaseWrapper, base.DatabaseWrapper):
    """Cannot be made without a setting of its own."""

    def __init__(self, settings: Any, alias: str = "default") -> None:
        super().__init__(settings, alias)
        self.zone = settings["ZONE"]


class Check:
    """Runs the check on one entry."""

    def __init__(self, use_databases: Any, folder: Any) -> None:
        self._use = use_databases
        self._name = str(folder / "db.sqlite3")

    def __call__(self, **changes: Any) -> list[CheckMessage]:
        self._use({"default": {"ENGINE": ENGINES["sqlite"], "NAME": self._name, **changes}})
        return list(check_identity())


@pytest.fixture
def check(use_databases: Any, tmp_path: Any) -> Check:
    return Check(use_databases, tmp_path)


def keys(messages: list[CheckMessage]) -> list[str]:
    assert {message.id for message in messages} <= {"poolrouter.W015"}
    return [message.msg.split("'")[3] for message in messages]


def test_undeclared_settings__are_each_named(check: Check) -> None:
    warnings = check(WAREHOUSE="small", TOKEN="secret")
    assert keys(warnings) == ["TOKEN", "WAREHOUSE"]
    assert "DATABASES['default'] has 'TOKEN'" in warnings[0].msg
    assert "identity_settings" in str(warnings[0].hint)
    assert not any("secret" in f"{warning.msg}{warning.hint}" for warning in warnings)


def test_misspelt_setting__is_recognized(check: Check) -> None:
    [warning] = check(CONN_HEALTH_CHECK=True)
    assert str(warning.hint).startswith("Did you mean 'CONN_HEALTH_CHECKS'? If ")
    [warning] = check(ZZZ=1)
    assert str(warning.hint).startswith("If ")


def test_documented_settings__are_known(check: Check) -> None:
    everything = {
        "ATOMIC_REQUESTS": False,
        "AUTOCOMMIT": True,
        "CONN_HEALTH_CHECKS": False,
        "CONN_MAX_AGE": 0,
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "HOST": "",
        "OPTIONS": {},
        "PASSWORD": "",
        "PORT": "",
        "ROUTER": {},
        "TEST": {},
        "TIME_ZONE": None,
        "USER": "",
    }
    assert check(**everything) == []
    connections.settings["default"]["IS_TEST_MIRROR"] = True
    assert list(check_identity()) == []


def test_what_django_fills_in__is_known(check: Check) -> None:
    assert check() == []


def test_identity_settings__are_known(check: Check) -> None:
    engine = engine_of(Warehouses)
    assert check(ENGINE=engine, WAREHOUSE="small") == []
    assert keys(check(ENGINE=engine, WAREHOUSE="small", ROLE="reader")) == ["ROLE"]


def test_tenant_of_the_moment__is_no_setting(check: Check) -> None:
    engine = engine_of(Tenants)
    assert check(ENGINE=engine) == []
    connections["default"].set_tenant("second")  # type: ignore[attr-defined]
    assert connections.settings["default"]["SCHEMA"] == "second"
    assert list(check_identity()) == []
    assert connections.settings["default"]["SCHEMA"] == "second"


def test_setting_that_the_backend_needs__is_named(check: Check) -> None:
    assert keys(check(ENGINE=engine_of(Demanding), ZONE="eu")) == ["ZONE"]


@pytest.mark.parametrize(
    "entry",
    [
        {"ENGINE": "django.db.backends.sqlite3"},
        {"ENGINE": "no.such.engine"},
        {"OPTIONS": {"pool": False}},
        {"NAME": ":memory:"},
    ],
)
def test_database_without_a_pool__may_have_any_setting(check: Check, entry: Any) -> None:
    assert check(WAREHOUSE="small", **entry) == []
