"""MAX_LAG is a promise: no read is older, in whatever process, unless FALLBACK says otherwise."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from django_poolrouter import scope
from django_poolrouter.routing.monitor import INTERVAL
from tests.support.databases import configured
from tests.support.programs import Program
from tests.support.testapp.replicated import Shop
from tests.support.testapp.shop.models import Tag
from tests.support.web import ROOT, listening, running

MAX_LAG = 1
LAGGING = {"MAX_LAG": MAX_LAG, "READ_YOUR_WRITES": "position"}
Reader = Callable[[], str]


@pytest.fixture(scope="module")
def shop(postgresql: Any, django_db_blocker: Any) -> Shop:
    made = Shop("postgresql", postgresql, "max_lag")
    with django_db_blocker.unblock(), configured(made.databases()), scope():
        made.seed()
        Tag.objects.create(name="old")
        connections.close_all()
        postgresql.wait_for_replicas()
    return made


@pytest.fixture(autouse=True)
def unblocked(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@contextmanager
def program(how: str, databases: dict[str, Any], folder: Path) -> Iterator[Reader]:
    """Run a program that reads once for each call."""
    command = ["-m", "tests.support.testproject.newest", how]
    environment = {"PATH": os.environ["PATH"], "DATABASES": json.dumps(databases)}
    with Program(command, environment, cwd=ROOT) as running_one:
        assert running_one.stdout.readline() == "ready\n"

        def read() -> str:
            running_one.stdin.write("\n")
            running_one.stdin.flush()
            return running_one.stdout.readline().strip()

        yield read


@contextmanager
def web_worker(how: str, databases: dict[str, Any], folder: Path) -> Iterator[Reader]:
    environment = {"PATH": os.environ["PATH"], "DATABASES": json.dumps(databases)}
    with listening() as listener:
        server = ("-m", "gunicorn", f"--bind=fd://{listener.fileno()}", "--no-control-socket")
        port = listener.getsockname()[1]

        def read() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/newest", timeout=30) as answer:
                return str(answer.read().decode())

        command = (*server, "tests.support.testproject.wsgi")
        files = (listener.fileno(),)
        with running(command, environment, folder / "web.log", pass_fds=files):
            assert read() == "old"  # so that it knows the replicas
            yield read


PROCESSES: dict[str, Any] = {"command": program, "prefork": program, "web worker": web_worker}


@contextmanager
def standing_still(shop: Shop) -> Iterator[None]:
    """Let all replicas lack what is written now, for longer than MAX_LAG and one look."""
    for replica in shop.servers.replicas:
        shop.fall_behind(replica)
    try:
        with configured(shop.databases()), scope():
            Tag.objects.create(name="new")
        time.sleep(MAX_LAG + INTERVAL + 0.5)  # the promise is about this time
        yield
    finally:
        for replica in shop.servers.replicas:
            shop.catch_up(replica)
        with configured(shop.databases()), scope():
            Tag.objects.using("default").filter(name="new").delete()
        shop.servers.wait_for_replicas()


@pytest.mark.parametrize("how", PROCESSES)
def test_read__is_no_older_than_max_lag(how: str, shop: Shop, tmp_path: Path) -> None:
    with PROCESSES[how](how, shop.databases(**LAGGING), tmp_path) as read, standing_still(shop):
        assert read() == "new"


@pytest.mark.parametrize("how", PROCESSES)
def test_read__may_be_older_where_fallback_says_so(how: str, shop: Shop, tmp_path: Path) -> None:
    databases = shop.databases(**LAGGING, FALLBACK="lagging")
    with PROCESSES[how](how, databases, tmp_path) as read, standing_still(shop):
        assert read() == "old"
