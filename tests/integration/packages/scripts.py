"""Runs a module of these tests in a process of its own, and what must be installed for that."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support import programs
from tests.support.skips import NOT_TESTED

ROOT = Path(__file__).parents[3]
REQUIRED = "POOLROUTER_REQUIRE_PACKAGES"
"""This variable is 1 in an environment with the group ``packages``: a missing one is a failure."""
NAMES = {
    "cachalot": "django-cachalot",
    "dbbackup": "django-dbbackup",
    "django_celery_beat": "django-celery-beat",
    "django_celery_results": "django-celery-results",
    "django_extensions": "django-extensions",
    "django_prometheus": "django-prometheus",
    "django_q": "django-q2",
    "django_tasks_db": "django-tasks-db",
    "django_tenants": "django-tenants",
    "mptt": "django-mptt",
    "qsessions": "django-qsessions",
    "sentry_sdk": "sentry-sdk",
    "treebeard": "django-treebeard",
    "wagtail": "wagtail",
}


def need(module: str) -> None:
    """Skip the test without a package; fail it where the environment has the group."""
    if importlib.util.find_spec(module) is None:
        missing(f"{NAMES[module]} (not installed; make packages)", REQUIRED)


def missing(what: str, required_by: str) -> NoReturn:
    if os.environ.get(required_by) == "1":
        pytest.fail(what, pytrace=False)
    pytest.skip(f"{NOT_TESTED}{what}")


def run(module: str, order: dict[str, Any], timeout: float = 120) -> Any:
    """Run a module that takes an order as JSON and prints its answer as JSON."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": ""}
    command = ["-m", f"{__package__}.{module}", json.dumps(order)]
    done = programs.run(command, environment, cwd=ROOT, timeout=timeout)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
