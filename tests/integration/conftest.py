"""Fixtures of tests with several processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.host import Host
from tests.support.web import running

WORKER = (
    *("-m", "celery", "-A", "tests.support.testproject.worker", "worker"),
    *("--pool=prefork", "--concurrency=1", "--loglevel=INFO"),
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.end()


@pytest.fixture(scope="session")
def celery_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the queue; one for all, as the project reads it once."""
    folder = tmp_path_factory.mktemp("celery")
    for name in ("queue", "control", "results"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="module")
def project(celery_folder: Path) -> Iterator[Any]:
    """The tasks, in a process that sends them."""
    from celery import signals

    from django_poolrouter.contrib.celery import hooks

    before = set(signals.before_task_publish.receivers or ())
    os.environ["CELERY_FOLDER"] = str(celery_folder)
    from tests.support.testproject import tasks

    hooks.connect()
    yield tasks
    del os.environ["CELERY_FOLDER"]
    for name, receiver in {
        "before_task_publish": hooks.on_send,
        "task_prerun": hooks.on_start,
        "task_postrun": hooks.on_end,
    }.items():
        getattr(signals, name).disconnect(receiver, dispatch_uid=hooks.__name__)
    assert set(signals.before_task_publish.receivers or ()) == before


@pytest.fixture(scope="module")
def start_worker(celery_folder: Path) -> Iterator[Callable[[dict[str, Any]], Path]]:
    """Start a worker with one process on these DATABASES, and return its log; one at a time."""
    with ExitStack() as stack:

        def start(databases: dict[str, Any]) -> Path:
            stack.close()
            log = celery_folder / "worker.log"
            log.unlink(missing_ok=True)
            environment = {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                "CELERY_FOLDER": str(celery_folder),
                "DATABASES": json.dumps(databases),
                "DJANGO_SETTINGS_MODULE": "tests.support.testproject.settings",
            }
            stack.enter_context(running(WORKER, environment, log))
            return log

        yield start
