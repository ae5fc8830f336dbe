"""PoolHealthMonitor, and the plug-in of django-health-check through its view and command."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.urls import path
from health_check.views import HealthCheckView

from django_poolrouter import PoolHealthMonitor, pools
from django_poolrouter.contrib.health_check import PoolHealthCheck
from tests.conftest import Vendor

CHECK = "django_poolrouter.contrib.health_check.PoolHealthCheck"
ROOT = Path(__file__).parents[2]

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
            checks=[(CHECK, {"alias": "default", "timeout": timedelta(seconds=0.1)})]
        ),
        name="quick",
    ),
]
with_urls = override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
TINY = {"pool_size": 1, "max_overflow": 0}


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
        health = PoolHealthMonitor("default", timeout=0.1).check_health()
    assert not health.healthy
    assert "no connection within 0.09 s" in str(health.error_message)
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


def test_check_health__shows_no_password(server: Vendor, use_databases: Any) -> None:
    use_databases({"default": server.database(PASSWORD="not-the-password")})
    health = PoolHealthMonitor("default").check_health()
    assert not health.healthy
    assert "not-the-password" not in repr(health)


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
    probe = monitor._probe
    assert probe is not None
    probe.join(30)
    assert monitor.is_healthy()


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
    assert "no connection within 0.09 s" in response.content.decode()


@with_urls
def test_view__keeps_no_connection_in_the_executors_threads(
    vendor: Vendor, use_databases: Any
) -> None:
    use_databases({"default": vendor.database(TINY)})
    for _ in range(5):
        assert Client().get("/health/?format=text").status_code == 200
    status = pools["default"].status()
    assert (status.checkouts, status.connects, status.checkedout) == (5, 1, 0)


def test_check__is_told_from_others_by_its_alias() -> None:
    assert repr(PoolHealthCheck(alias="other", timeout=timedelta(seconds=9))) == (
        "PoolHealthCheck(alias='other')"
    )


@pytest.mark.parametrize(("name", "code"), [("db.sqlite3", 0), ("no/such/db.sqlite3", 1)])
def test_command__tells_by_its_exit_code(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "commandsettings.py").write_text(
        "SECRET_KEY = 'x'\n"
        "INSTALLED_APPS = ['django_poolrouter', 'health_check']\n"
        "ROOT_URLCONF = 'tests.integration.test_health'\n"
        f"DATABASES = {{'default': {{'ENGINE': 'django_poolrouter.backends.sqlite3',"
        f" 'NAME': {str(tmp_path / name)!r}}}}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "django", "health_check", "quick", "--no-http"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
            "DJANGO_SETTINGS_MODULE": "commandsettings",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
