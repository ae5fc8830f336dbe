"""Tasks of django.tasks: what they know of their sender, be they run at once or by a worker."""

from __future__ import annotations

import json
import pickle
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.db import connections, transaction
from django.db.models.expressions import RawSQL

from django_poolrouter import scope
from django_poolrouter.routing import Scope, current_scope
from tests.support.databases import ENGINES
from tests.support.testapp.replicated import Shop
from tests.support.testapp.shop.models import Author
from tests.support.testapp.site import PORT

if django.VERSION < (6, 0):

    def test_django_5__has_no_tasks_and_that_is_said() -> None:
        with pytest.raises(ImportError, match=r"needs django\.tasks, which Django has since 6\.0"):
            import django_poolrouter.contrib.tasks  # noqa: F401

    pytest.skip("django.tasks came with Django 6.0", allow_module_level=True)

from django.tasks import task, task_backends

from django_poolrouter.contrib.tasks import scoped


def places() -> list[str]:
    return [Author.objects.get(pk=1).name for _ in range(2)]


@scoped
@task
def read(note: str = "") -> list[str]:
    return places()


@scoped(reads="primary")
@task(priority=3)
def read_primary() -> list[str]:
    return places()


@scoped(reads="any")
@task
def read_any() -> list[str]:
    return places()


@scoped
@task(takes_context=True)
async def aread(context: Any) -> list[str]:
    return [(await Author.objects.aget(pk=1)).name, str(context.attempt)]


@scoped
@task
def read_port() -> int:
    server = Author.objects.annotate(port=RawSQL(PORT["postgresql"], ())).first()  # noqa: S611
    return int(server.port)


@scoped
@task
def write() -> list[str]:
    Author.objects.create(name="new")
    return places()


@pytest.fixture
def site(use_databases: Any, tmp_path: Path) -> Iterator[None]:
    """A primary and a replica that differ in a row, so that answers show where they are from."""
    entries: dict[str, Any] = {"default": {}, "replica": {"REPLICA_OF": "default"}}
    use_databases(
        {
            alias: {"ENGINE": ENGINES["sqlite"], "NAME": tmp_path / alias, "ROUTER": entry}
            for alias, entry in entries.items()
        }
    )
    call_command("migrate", run_syncdb=True, verbosity=0)
    Author.objects.create(pk=1, name="default")
    shutil.copy(tmp_path / "default", tmp_path / "replica")
    copy = sqlite3.connect(tmp_path / "replica")
    copy.execute("UPDATE shop_author SET name = 'replica'")
    copy.commit()
    copy.close()
    with scope(Scope(sticky=False)):
        yield
        connections.close_all()


@pytest.fixture
def backend(settings: Any) -> Any:
    """A backend that only keeps what was sent."""
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
    task_backends["default"].clear()
    return task_backends["default"]


@pytest.fixture
def queue(site: None, backend: Any) -> Any:
    """The same, for tasks of the site."""
    return backend


def work(queue: Any) -> Any:
    """Run the task that was sent last, as another process does: all it has is JSON."""
    sent = queue.results[-1]
    args, kwargs = json.loads(json.dumps([sent.args, sent.kwargs]))

    def run() -> Any:
        try:
            return sent.task.call(*args, **kwargs)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(run).result()


def test_task__of_a_sender_that_wrote_nothing_reads_from_replicas(queue: Any) -> None:
    read.enqueue(note="x")
    assert queue.results[-1].kwargs == {"note": "x"}
    assert work(queue) == ["replica"] * 2


def test_task__sees_what_its_sender_wrote(queue: Any) -> None:
    Author.objects.create(name="new")
    read.enqueue("x")
    assert work(queue) == ["default"] * 2
    async_to_sync(read.aenqueue)(note="x")
    assert work(queue) == ["default"] * 2


def test_task__sent_in_a_transaction_is_pinned(queue: Any) -> None:
    with transaction.atomic():
        Author.objects.create(name="new")
        read.enqueue()
    assert work(queue) == ["default"] * 2


def test_policy__is_the_tasks_own(queue: Any) -> None:
    for each, place in ((read_primary, "default"), (read_any, "replica")):
        each.enqueue()
        assert work(queue) == [place] * 2
    Author.objects.create(name="new")
    read_any.enqueue()
    assert work(queue) == ["replica"] * 2


def test_task__is_led_to_a_replica_by_its_senders_position(
    postgresql: Any, backend: Any, use_databases: Any
) -> None:
    shop = Shop("postgresql", postgresql, "tasks")
    use_databases(shop.databases(PIN_SECONDS=60, MAX_LAG=None))
    with scope():
        shop.seed()
    replicas = shop.servers.replicas
    try:
        for replica in replicas:
            shop.fall_behind(replica)
        with scope():
            Author.objects.create(name="new")
            read_port.enqueue()
        assert work(backend) == shop.servers.ports["primary"]
    finally:
        for replica in replicas:
            shop.catch_up(replica)
        shop.servers.wait_for_replicas()
    assert work(backend) in {shop.servers.ports[replica] for replica in replicas}
    connections.close_all()


def test_task__run_at_once_is_a_scope_of_its_own(site: None, settings: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    outer = current_scope()
    assert read.enqueue().return_value == ["replica"] * 2
    assert aread.enqueue().return_value == ["replica", "1"]
    Author.objects.create(name="new")
    assert aread.enqueue().return_value == ["default", "1"]
    assert current_scope() is outer


def test_task__run_at_once_lets_its_sender_read_what_it_wrote(site: None, settings: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    for enqueue in (write.enqueue, async_to_sync(write.aenqueue)):
        with scope() as outer:
            assert places() == ["replica"] * 2
            assert enqueue().return_value == ["default"] * 2
            assert outer.wrote == {"default"}
            assert places() == ["default"] * 2


def test_task__is_still_one_of_its_backend(queue: Any) -> None:
    assert isinstance(read, queue.task_class)
    assert read_primary.priority == 3
    other = read.using(queue_name="default", priority=7)
    assert type(other) is type(read)
    assert pickle.loads(pickle.dumps(other)) == other  # noqa: S301
    assert read.module_path == f"{__name__}.read"


def test_scoped__in_the_wrong_place_or_with_a_wrong_policy_is_refused() -> None:
    with pytest.raises(TypeError, match="Put @scoped above @task"):
        scoped(len)
    with pytest.raises(ValueError, match="reads must be one of 'wait', 'primary', 'any', not 'so"):
        scoped(reads="sometimes")
