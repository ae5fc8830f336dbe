"""Packages that need a setting beside replicas or our engines, and the settings that cure it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import invalidate_caches
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core import checks
from django.dispatch import Signal

from django_poolrouter.checks.packages import check_packages
from tests.support.databases import ENGINES
from tests.unit.checks.test_settings import STOCK, Setup, setup

__all__ = ["setup"]

OURS = ENGINES["sqlite"]
PACKAGES = ("cachalot", "cacheops", "dbbackup", "django_extensions")


@pytest.fixture(autouse=True)
def _fakes(tmp_path: Path) -> Iterator[None]:
    """Apps with the packages' names, whether they are installed or not."""
    with pytest.MonkeyPatch.context() as patch:
        for name in PACKAGES:
            (tmp_path / "apps" / name).mkdir(parents=True)
            (tmp_path / "apps" / name / "__init__.py").touch()
            for module in [m for m in sys.modules if m.partition(".")[0] == name]:
                patch.delitem(sys.modules, module)
        patch.syspath_prepend(str(tmp_path / "apps"))
        yield
        for name in PACKAGES:
            sys.modules.pop(name, None)
    invalidate_caches()


@pytest.fixture
def told(setup: Setup) -> Callable[..., list[str]]:
    """Return what the check tells of a package with these settings."""

    def told(package: str, **changes: Any) -> list[str]:
        installed = [app for app in settings.INSTALLED_APPS if app != package] + [package]
        setup.settings = {**setup.settings, "INSTALLED_APPS": installed, **changes}
        setup.use()
        messages = list(check_packages())
        assert {message.id for message in messages} <= {"poolrouter.W025"}
        return [f"{message.msg} {message.hint}" for message in messages]

    return told


def test_packages_that_are_not_installed__get_no_message(setup: Setup) -> None:
    setup.settings = {"CACHEOPS": {"*.*": {"ops": "all"}}}
    setup.use()
    assert list(check_packages()) == []


def test_check__is_registered() -> None:
    assert check_packages in checks.registry.registry.get_checks()


def test_wrong_settings__are_left_to_the_check_of_settings(setup: Setup, told: Any) -> None:
    setup.databases["replica1"]["ROUTER"]["REPLICA_OF"] = "nothing"
    assert told("dbbackup") == []


# -- cachalot -----------------------------------------------------------------------------

KNOWN = {"CACHALOT_ADDITIONAL_SUPPORTED_DATABASES": [OURS]}


@pytest.mark.parametrize(
    "changes",
    [
        KNOWN,
        {"CACHALOT_USE_UNSUPPORTED_DATABASE": True},
        {"CACHALOT_DATABASES": ["default", "replica1"]},
        {**KNOWN, "CACHALOT_TIMEOUT": 5},
    ],
)
def test_cachalot__caches_what_replicas_tell(told: Any, changes: dict[str, Any]) -> None:
    [text] = told("cachalot", **changes)
    assert text.startswith("django-cachalot caches what is read from 'replica1'.")
    assert text.endswith(" Set CACHALOT_DATABASES = ['default', 'orders'].")


def test_cachalot__of_engines_that_it_knows(setup: Setup, told: Any) -> None:
    for alias in ("default", "replica1"):
        setup.databases[alias]["ENGINE"] = STOCK
    assert told("cachalot", CACHALOT_DATABASES=["orders"]) == []
    [cached, unknown] = told("cachalot", CACHALOT_DATABASES="supported_only")
    assert "'replica1'" in cached
    assert f"ENGINE '{OURS}'" in unknown


def test_cachalot__that_knows_no_engine(told: Any) -> None:
    [text] = told("cachalot")
    assert text.startswith(f"django-cachalot does not know the ENGINE '{OURS}', and caches")


@pytest.mark.parametrize(
    "changes",
    [
        {**KNOWN, "CACHALOT_DATABASES": ["default"]},
        {**KNOWN, "CACHALOT_ENABLED": False},
        {"CACHALOT_ENABLED": False},
    ],
)
def test_cachalot__that_does_not_cache_what_replicas_tell(
    told: Any, changes: dict[str, Any]
) -> None:
    assert told("cachalot", **changes) == []


def test_cachalot__of_a_project_that_invalidates_replicas(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal = Signal()
    module = SimpleNamespace(post_invalidation=signal)
    monkeypatch.setitem(sys.modules, "cachalot.signals", module)
    assert len(told("cachalot", **KNOWN, CACHALOT_TIMEOUT=5)) == 1

    def receive(**kwargs: Any) -> None:
        pass

    signal.connect(receive)
    assert told("cachalot", **KNOWN, CACHALOT_TIMEOUT=5) == []
    assert len(told("cachalot", **KNOWN, CACHALOT_TIMEOUT=None)) == 1


def test_cachalot__without_our_router(told: Any) -> None:
    assert told("cachalot", **KNOWN, DATABASE_ROUTERS=[]) == []


# -- cacheops -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profiles", "named"),
    [
        ({"shop.tag": {"ops": "get"}}, "shop.Tag"),
        ({"Shop.Tag": {"ops": {"get"}}, "shop.*": {"ops": ()}}, "shop.Tag"),
        ({"shop.*": {"ops": "all"}, "shop.tag": None}, "shop.Author and "),
        ({"*.*": None, "shop.*": {"timeout": 9}}, "shop.Author and "),
    ],
)
def test_cacheops__caches_models_that_replicas_tell(
    told: Any, profiles: dict[str, Any], named: str
) -> None:
    defaults = {"ops": "all"} if "*.*" in profiles else {}
    [text] = told("cacheops", CACHEOPS=profiles, CACHEOPS_DEFAULTS=defaults)
    assert text.startswith(f"django-cacheops caches {named}")
    assert "ALWAYS_PRIMARY" in text


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"CACHEOPS": {"shop.tag": {"timeout": 9}}},
        {"CACHEOPS": {"shop.tag": None, "shop.*": None, "*.*": None}},
        {"CACHEOPS": {"orders.*": {"ops": "all"}}},  # of a cluster without replicas
        {"CACHEOPS": {"contenttypes.*": {"ops": "all"}}},  # always on the primary
        {"CACHEOPS": {"*.*": {"ops": "all"}}, "CACHEOPS_ENABLED": False},
        {"CACHEOPS": {"*.*": {"ops": "all"}}, "DATABASE_ROUTERS": []},
    ],
)
def test_cacheops__that_caches_no_such_model(told: Any, changes: dict[str, Any]) -> None:
    assert told("cacheops", **changes) == []


def test_cacheops__of_models_that_are_read_from_the_primary(setup: Setup, told: Any) -> None:
    router = {"READ_YOUR_WRITES": "pin", "ALWAYS_PRIMARY": ["shop"]}
    setup.databases["default"]["ROUTER"] = router
    assert told("cacheops", CACHEOPS={"shop.*": {"ops": "all"}}) == []


# -- tools that look at ENGINE --------------------------------------------------------------

SQLITE = "dbbackup.db.sqlite.SqliteBackupConnector"
PRIMARIES = {"DBBACKUP_DATABASES": ["default", "orders"]}


def test_dbbackup__without_settings(told: Any) -> None:
    [connector, replicas] = told("dbbackup")
    assert connector.startswith(f"django-dbbackup does not know the ENGINE '{OURS}', and writes")
    assert connector.endswith(f" Set DBBACKUP_CONNECTOR_MAPPING = {{'{OURS}': '{SQLITE}'}}.")
    assert replicas.startswith("django-dbbackup also makes a backup of each replica, as 'replica1'")
    assert replicas.endswith(" Set DBBACKUP_DATABASES = ['default', 'orders'].")


@pytest.mark.parametrize(
    "changes",
    [
        {"DBBACKUP_CONNECTOR_MAPPING": {OURS: SQLITE}},
        {"DBBACKUP_CONNECTORS": {a: {"CONNECTOR": SQLITE} for a in ("default", "orders")}},
    ],
)
def test_dbbackup__with_settings(told: Any, changes: dict[str, Any]) -> None:
    assert told("dbbackup", **changes, **PRIMARIES) == []


def test_dbbackup__of_a_replica_alone_is_a_choice(told: Any) -> None:
    connectors = {"replica1": {"CONNECTOR": SQLITE}}
    chosen = {"DBBACKUP_CONNECTORS": connectors, "DBBACKUP_DATABASES": ["replica1"]}
    assert told("dbbackup", **chosen) == []


def test_extensions__do_not_know_our_engine(setup: Setup, told: Any) -> None:
    [text] = told("django_extensions")
    name = "DJANGO_EXTENSIONS_RESET_DB_SQLITE_ENGINES"
    assert f" Set {name} = ['{OURS}']." in text
    assert told("django_extensions", **{name: [OURS]}) == []
    for database in setup.databases.values():
        database["ENGINE"] = STOCK
    assert told("django_extensions", **{name: []}) == []
