"""Queues, schedules and results: packages whose rows decide what happens next.

While the replicas stand still, each process finds what it finds with one database.  It does so too
with the package's app taken out of ALWAYS_PRIMARY, if the replicas follow.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from tests.integration.packages.conftest import APPS
from tests.integration.packages.scripts import need

TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
CLUSTER = {"name": "beside", "orm": "default", "poll": 0.01, "log_level": "ERROR"}
SETTINGS = {"TASKS": TASKS, "Q_CLUSTER": CLUSTER}
PACKAGES = {
    # A script -> its package.
    "worker": "django_tasks_db",
    "cluster": "django_q",
    "beat": "django_celery_beat",
    "results": "django_celery_results",
    "groups": "django_celery_results",
}
LABELS = {"django_tasks_db": "django_tasks_database"}
"""The labels of apps whose label is not the package's name."""
WAYS: dict[str, dict[str, Any]] = {
    "alone": {},
    "lagging": {"replicas": True, "lag": True},
    "read from replicas": {"replicas": True},
}


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """What the scripts found.  For each way, one process runs all."""
    return {}


@pytest.fixture
def found(site: Any, known: dict[str, Any]) -> Any:
    def found(way: str, script: str) -> Any:
        need(PACKAGES[script])
        if way not in known:
            scripts = [script for script, package in PACKAGES.items() if find_spec(package)]
            packages = list(dict.fromkeys(PACKAGES[script] for script in scripts))
            labels = [LABELS.get(package, package) for package in packages]
            removed = labels if way == "read from replicas" else []
            apps = [app for package in packages for app in APPS[package]]
            how = {**WAYS[way], **SETTINGS, "removed": removed, "what": " ".join(scripts)}
            known[way] = site.run("queues", apps, **how)
        return known[way][script]

    return found


@pytest.mark.parametrize("script", PACKAGES)
def test_package__does_the_same_while_replicas_lag(found: Any, script: str) -> None:
    assert found("lagging", script) == found("alone", script)


@pytest.mark.parametrize("script", PACKAGES)
def test_package__does_the_same_if_it_reads_replicas(found: Any, script: str) -> None:
    seen, expected = found("read from replicas", script), found("alone", script)
    assert seen["read from"].startswith("replica")
    assert {**seen, "read from": "default"} == expected
