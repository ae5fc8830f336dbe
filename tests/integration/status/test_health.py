"""PoolHealthMonitor, and the plug-in of django-health-check through its view and command."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from health_check.views import HealthCheckView
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from django_poolrouter import PoolHealthMonitor, pools
from django_poolrouter.contrib.health_check import (
    PoolHealthCheck,
    PoolHealthCheckView,
    PoolPressureCheck,
    ReplicaLagCheck,
)
from django_poolrouter.process.database_pool import describe
from django_poolrouter.process.registry import registry
from tests.conftest import Vendor
from tests.support import programs
from tests.support.databases import ENGINES
from tests.support.host import Host
from tests.support.waiting import eventually

CHECK = "django_poolrouter.contrib.health_check.PoolHealthCheck"
ROOT = Path(__file__).parents[3]

urlpatterns = [
    path("health/", HealthCheckView.as_view(checks=[(CHECK, {"alias": "default"})])),
    path(
        "both/",
        HealthCheckView.as_view(
            checks=[(CHECK, {"alias": "default"}), (CHECK, {"alias": "missing"})]
        ),
    ),
    path(
        "quick/",
        HealthCheckView.as_view(
            checks=[(CHECK, {"alias": "default", "timeout": timedelta(seconds=1)})]
        ),
        name="quick",
    ),
    path("pools/", PoolHealthCheckView.as_view(checks=[(CHECK, {"alias": "default"})])),
]
with_urls = pytest.mark.usefixtures("urls")
TINY = {"pool_size": 1, "max_overflow": 0}


@pytest.fixture
def urls() -> Iterator[None]:
    """Serve what is above.

    A fixture, so that it ends after ``use_databases``: settings overridden in a decorator end
    before, and were put back when that ended, for all tests to come.
    """
    templates = {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
    with override_settings(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django_poolrouter", "health_check"],
        TEMPLATES=[templates],
    ):
        yield


def test_check_health__finds_a_working_pool_healthy(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database({"pool_size": 3, "max_overflow": 1})})
    monitor = PoolHealthMonitor("default")
    assert monitor.is_healthy()
    with pools["default"].connection():
        health = monitor.check_health()
    assert (health.healthy, health.error_message) == (True, None)
    assert (health.connections_in_use, health.connections_available) == (1, 3)
    assert health.last_check.tzinfo is not None
    assert pools["default"].status().checkedout == 0


def test_check_health__tells_of_an_exhausted_pool(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database(TINY)})
    with pools["default"].connection():
        health = PoolHealthMonitor("default", timeout=1).check_health()
    assert not health.healthy
    assert "no connection within 0.9 s" in str(health.error_message)
    assert (health.connections_in_use, health.connections_available) == (1, 0)


def test_check_health__never_raises(use_databases: Any, tmp_path: Path) -> None:
    missing = {"ENGINE": "django_poolrouter.backends.sqlite3", "NAME": tmp_path / "no" / "db"}
    wrong = {**missing, "OPTIONS": {"pool": "no such profile"}}
    use_databases({"default": missing, "wrong": wrong})
    for alias, words in {
        "default": "unable to open database file",
        "wrong": "unknown profile",
        "unknown": "Database 'unknown' not configured",
    }.items():
        health = PoolHealthMonitor(alias).check_health()
        assert not health.healthy
        assert words in str(health.error_message)
        assert (health.connections_in_use, health.overflow_in_use) == (0, 0)


@pytest.mark.parametrize("wrong", [None, 3, {"ENGINE": "x"}])
def test_check_health__of_what_is_no_pool_is_a_failure(use_databases: Any, wrong: Any) -> None:
    use_databases({})
    health = PoolHealthMonitor(wrong).check_health()
    # Only the type: a mapping may hold a password.
    words = f"expected an alias or a pool, not {type(wrong).__name__}"
    assert (health.healthy, health.error_message) == (False, words)


def test_check_health__shows_no_password(server: Vendor, use_databases: Any) -> None:
    use_databases({"default": server.database(PASSWORD="not-the-password")})
    health = PoolHealthMonitor("default").check_health()
    assert not health.healthy
    assert "not-the-password" not in repr(health)


@pytest.mark.parametrize("option", ["password", "passwd"])
def test_describe__masks_the_password_in_the_options_too(use_databases: Any, option: str) -> None:
    database = {"ENGINE": ENGINES["mariadb"], "OPTIONS": {option: "not-the-password"}}
    use_databases({"default": database})
    told = describe(RuntimeError("denied: not-the-password"), pools["default"])
    assert told == "denied: ********"


def test_check_health__is_bounded_by_its_timeout(
    postgresql_database: dict[str, str], use_databases: Any, fault_proxy: Callable[[int], Any]
) -> None:
    proxy = fault_proxy(int(postgresql_database["PORT"]))
    proxy.mode = "blackhole"
    database = {
        "ENGINE": "django_poolrouter.backends.postgresql",
        **postgresql_database,
        "PORT": str(proxy.port),
        "OPTIONS": {"pool": {"pool_timeout": 1}},
    }
    use_databases({"default": database})
    monitor = PoolHealthMonitor("default", timeout=0.2)
    threads = threading.active_count()
    began = time.monotonic()
    for _ in range(3):
        assert monitor.check_health().error_message == "no answer within 0.2 s"
    assert time.monotonic() - began < 5
    assert threading.active_count() <= threads + 1
    proxy.mode = "pass"
    proxy.drop()
    eventually(lambda: threading.active_count() <= threads, 30)
    eventually(monitor.is_healthy)


def test_check_health__works_without_a_pool(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database(pool=False)})
    assert PoolHealthMonitor("default").is_healthy()


@with_urls
def test_view__says_ok_in_json(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database()})
    response = Client().get("/health/?format=json")
    assert response.status_code == 200
    assert response.json() == {"PoolHealthCheck(alias='default')": "OK"}
    assert pools["default"].status().checkouts == 1


@with_urls
def test_view__names_the_failing_database(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database()})
    response = Client().get("/both/?format=json")
    assert response.status_code == 500
    answer = response.json()
    assert answer["PoolHealthCheck(alias='default')"] == "OK"
    assert "'missing' not configured" in answer["PoolHealthCheck(alias='missing')"]


@with_urls
def test_view__fails_within_the_timeout_when_exhausted(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database(TINY)})
    connection.ensure_connection()
    response = Client().get("/quick/?format=json")
    assert response.status_code == 500
    assert "no connection within 0.9 s" in response.content.decode()


@with_urls
def test_view__keeps_no_connection_in_the_executors_threads(
    vendor: Vendor, use_databases: Any
) -> None:
    use_databases({"default": vendor.database(TINY)})
    for _ in range(5):
        assert Client().get("/health/?format=text").status_code == 200
    status = pools["default"].status()
    assert (status.checkouts, status.connects, status.checkedout) == (5, 1, 0)


# -- pressure ------------------------------------------------------------------------------


def failure(check: Any) -> str | None:
    """Run a check as the library does, in a thread of an executor; return what it says."""

    async def run() -> Any:
        with ThreadPoolExecutor(1) as executor:
            return await check.get_result(executor)

    result = asyncio.run(run())
    return result.error and f"{type(result.error).__name__}: {result.error.message}"


def test_pressure__warns_of_a_pool_that_is_nearly_full(use_databases: Any, tmp_path: Path) -> None:
    sqlite = {"ENGINE": "django_poolrouter.backends.sqlite3", "NAME": tmp_path / "db"}
    pool = {"pool_size": 2, "max_overflow": 2}
    use_databases(
        {"default": {**sqlite, "OPTIONS": {"pool": pool}}},
        POOLROUTER={"NAMESPACE": str(tmp_path)},  # whose processes show nothing
    )
    check = PoolPressureCheck("default", max_used=0.5)
    assert failure(check) is None
    with pools["default"].connection(), pools["default"].connection():
        assert failure(check) is None
        with pools["default"].connection():
            assert failure(check) == (
                "ServiceWarning: default: 3 of 4 connections in use, 0 callers wait"
            )
    assert failure(check) is None


def test_pressure__is_that_of_the_fullest_process_of_the_host(host: Host) -> None:
    host.worker().do("take")
    full = host.worker().do("take", "take", "take")
    code = "import sys; from django_poolrouter.contrib.health_check import PoolPressureCheck as C"
    done = programs.run(
        ["-c", f"import django; django.setup(); {code}; C('default').run()"],
        environment=host.environment,
    )
    told = f"default: 3 of 3 connections in use, 0 callers wait in process {full.pid}"
    assert told in done.stderr


def test_pressure__is_told_from_others_and_knows_its_database(use_databases: Any) -> None:
    use_databases({})
    check = PoolPressureCheck("missing")
    assert repr(check) == "PoolPressureCheck(alias='missing', max_used=0.9)"
    assert failure(check) == "ServiceUnavailable: Database 'missing' not configured"


# -- lag -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_lag__is_measured_on_replica_and_primary(
    kind: str, use_databases: Any, request: pytest.FixtureRequest
) -> None:
    cluster = request.getfixturevalue(kind)
    name = {"postgresql": "postgres", "mariadb": "mysql"}[kind]
    server = {"ENGINE": ENGINES[kind]}
    use_databases(
        {
            "default": {**server, **cluster.settings("primary", name)},
            "replica": {
                **server,
                **cluster.settings("replica1", name),
                "ROUTER": {"REPLICA_OF": "default"},
            },
            "promoted": {
                **server,
                **cluster.settings("primary", name),
                "ROUTER": {"REPLICA_OF": "default"},
            },
        }
    )
    cluster.wait_for_replicas()
    assert failure(ReplicaLagCheck("replica")) is None
    behind = r"ServiceWarning: replica: \d\.\d s behind its primary, more than -1 s"
    assert re.fullmatch(behind, str(failure(ReplicaLagCheck("replica", max_lag=-1))))
    assert failure(ReplicaLagCheck("default")) == ("ServiceUnavailable: 'default' is not a replica")
    assert failure(ReplicaLagCheck("promoted")) == (
        "ServiceUnavailable: 'promoted' follows no other server"
    )
    for pool in registry.all_pools():
        assert pool.status().checkedout == 0


def test_lag__that_cannot_be_told_is_a_failure(use_databases: Any, tmp_path: Path) -> None:
    sqlite = {"ENGINE": ENGINES["sqlite"], "NAME": tmp_path / "db"}
    use_databases({"default": sqlite, "replica": {**sqlite, "ROUTER": {"REPLICA_OF": "default"}}})
    assert failure(ReplicaLagCheck("replica")) == (
        "ServiceUnavailable: replica: the server does not report its lag"
    )


# -- the view ----------------------------------------------------------------------------------


@with_urls
@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_pools_view__tells_the_status_of_every_pool_in_json(
    vendor: Vendor, use_databases: Any, client: Any
) -> None:
    use_databases({"default": vendor.database(), "other": vendor.database()})

    async def get() -> Any:
        return await AsyncClient().get("/pools/?format=json")

    response = asyncio.run(get()) if client is AsyncClient else client().get("/pools/?format=json")
    assert response.status_code == 200
    answer = response.json()
    assert answer.pop("PoolHealthCheck(alias='default')") == "OK"
    [default, other] = answer.pop("pools")
    assert answer == {}
    assert (default["alias"], other["alias"]) == ("default", "other")
    assert {"in_use", "idle", "max", "waiting", "state"} <= default.keys()


@with_urls
def test_pools_view__tells_the_status_of_every_pool_in_html(
    vendor: Vendor, use_databases: Any
) -> None:
    use_databases({"default": vendor.database()})
    page = Client().get("/pools/", headers={"accept": "text/html"}).content.decode()
    assert '<td data-label="Database">default</td>' in page
    assert "PoolHealthCheck" in page


@with_urls
def test_pools_view__has_openmetrics_as_the_library_has(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database()})
    text = Client().get("/pools/?format=openmetrics").content.decode()
    metrics = {m.name: m for m in text_string_to_metric_families(text)}
    [sample] = metrics["django_health_check_status"].samples
    assert (sample.labels, sample.value) == ({"check": "PoolHealthCheck", "alias": "default"}, 1)


def test_check__is_told_from_others_by_its_alias() -> None:
    assert repr(PoolHealthCheck(alias="other", timeout=timedelta(seconds=9))) == (
        "PoolHealthCheck(alias='other')"
    )


@pytest.mark.parametrize(("name", "code"), [("db.sqlite3", 0), ("no/such/db.sqlite3", 1)])
def test_command__tells_by_its_exit_code(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "commandsettings.py").write_text(
        "SECRET_KEY = 'x'\n"
        "INSTALLED_APPS = ['django_poolrouter', 'health_check']\n"
        "ROOT_URLCONF = 'tests.integration.status.test_health'\n"
        f"DATABASES = {{'default': {{'ENGINE': 'django_poolrouter.backends.sqlite3',"
        f" 'NAME': {str(tmp_path / name)!r}}}}}\n"
    )
    done = programs.run(
        ["-m", "django", "health_check", "quick", "--no-http"],
        environment={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
            "DJANGO_SETTINGS_MODULE": "commandsettings",
        },
    )
    assert done.returncode == code, done.stdout + done.stderr
