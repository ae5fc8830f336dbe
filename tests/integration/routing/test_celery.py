"""Celery's tasks in a real prefork worker, and eagerly: what they know of their sender.

The replica is a file of its own in which a row has another name, so that each answer shows
where it was read.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction

from django_poolrouter import scope, using_primary
from django_poolrouter.routing import Scope, current_scope
from tests.support.databases import ENGINES, configured
from tests.support.skips import require_package
from tests.support.testapp.shop.models import Author

require_package("celery")
from celery import signals  # noqa: E402

from django_poolrouter.contrib.celery import hooks  # noqa: E402

WAIT = 30


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> dict[str, Any]:
    """Return a primary where a write pins for a minute, and a replica."""
    folder = tmp_path_factory.mktemp("databases")
    database = {"ENGINE": ENGINES["sqlite"], "NAME": str(folder / "default")}
    with django_db_blocker.unblock(), configured({"default": database}):
        call_command("migrate", run_syncdb=True, verbosity=0)
        Author.objects.create(pk=1, name="default")
    shutil.copy(folder / "default", folder / "replica")
    with sqlite3.connect(folder / "replica") as copy:
        copy.execute("UPDATE shop_author SET name = 'replica'")
    copy.close()
    entries = {"default": {"PIN_SECONDS": 60}, "replica": {"REPLICA_OF": "default"}}
    return {
        alias: {"ENGINE": ENGINES["sqlite"], "NAME": str(folder / alias), "ROUTER": entry}
        for alias, entry in entries.items()
    }


@pytest.fixture(scope="module")
def worker(start_worker: Callable[..., Path], databases: dict[str, Any]) -> Path:
    """Start a worker; give its log."""
    return start_worker(databases)


@pytest.fixture
def site(project: Any, databases: Any, use_databases: Any) -> Iterator[Any]:
    """The tasks, with their databases and a scope as of a thread that did nothing yet."""
    use_databases(databases)
    with scope(Scope(sticky=False)):
        yield project
        connections.close_all()


@pytest.fixture
def running(site: Any, worker: Path) -> Any:
    return site


def get(sent: Any) -> Any:
    return sent.get(timeout=WAIT, disable_sync_subtasks=False)


def write() -> None:
    Author.objects.create(name="new")


# -- in a worker ------------------------------------------------------------------------


def test_task__of_a_sender_that_wrote_nothing_reads_from_replicas(running: Any) -> None:
    answer = get(running.read.delay())
    assert answer["places"] == ["replica"] * 3
    assert answer["wrote"] == []


def test_task__sees_what_its_sender_wrote(running: Any) -> None:
    write()
    assert get(running.read.delay())["places"] == ["default"] * 3


def test_task__leaves_nothing_to_the_next_of_its_process(running: Any) -> None:
    for _ in range(4):
        assert get(running.write.delay()) == ["default"] * 3
        with pytest.raises(ZeroDivisionError):
            get(running.fail.delay())
    found = [get(running.read.delay()) for _ in range(6)]
    assert all(answer["places"] == ["replica"] * 3 for answer in found)
    assert all(answer["wrote"] == [] for answer in found)


@pytest.mark.parametrize("atomic", [False, True])
def test_task__sent_in_a_transaction_is_pinned(running: Any, atomic: bool) -> None:
    sent = []
    with transaction.atomic():
        write()
        if atomic:
            sent.append(running.read.delay())
        else:  # as delay_on_commit does
            transaction.on_commit(lambda: sent.append(running.read.delay()))
    assert get(sent[0])["places"] == ["default"] * 3


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("read_primary", "default", "default"), ("read_any", "replica", "replica")],
)
def test_policy__is_the_tasks_own(running: Any, name: str, before: str, after: str) -> None:
    task = getattr(running, name)
    assert get(task.delay()) == [before] * 3
    write()
    assert get(task.delay()) == [after] * 3


def test_policy__that_is_unknown_reads_from_the_primary_and_is_logged(
    running: Any, worker: Path
) -> None:
    assert get(running.read_sometimes.delay()) == ["default"] * 3
    told = "reads must be one of 'wait', 'primary', 'any', not 'sometimes'."
    assert told in worker.read_text()


def test_retry__knows_what_the_first_try_wrote(running: Any) -> None:
    assert get(running.write_and_retry.delay()) == ["default"] * 3


def test_tasks__of_a_task_know_what_it_wrote(running: Any) -> None:
    before, after = get(running.write_and_send.delay())
    places = [get(running.app.AsyncResult(task_id))["places"] for task_id in (before, after)]
    assert places == [["replica"] * 3, ["default"] * 3]


def test_chain__lets_each_task_know_what_those_before_it_wrote(running: Any) -> None:
    chained = running.read.si() | running.write.si() | running.read.si() | running.read.si()
    answers = [chained.delay()]
    while answers[0].parent:
        answers.insert(0, answers[0].parent)
    places = [["replica"] * 3, None, ["default"] * 3, ["default"] * 3]
    assert [get(a)["places"] if p else p for a, p in zip(answers, places, strict=True)] == places


# -- the headers ------------------------------------------------------------------------


class Sent(list[dict[str, Any]]):
    """The headers of tasks that were sent."""

    def __call__(self, *, headers: dict[str, Any], **kwargs: Any) -> None:
        self.append(headers)


@pytest.fixture
def sent(site: Any) -> Iterator[Sent]:
    sent = Sent()
    signals.before_task_publish.connect(sent, weak=False)
    yield sent
    signals.before_task_publish.disconnect(sent)
    site.app.control.purge()


def test_headers__carry_pins_only_if_there_are_any(site: Any, sent: Sent) -> None:
    site.read.delay()
    assert hooks.HEADER not in sent[0]
    write()
    site.read.delay()
    assert list(sent[1][hooks.HEADER]) == ["default"]
    # As a retry does, which sends the headers of the first time again.
    with scope():
        site.read.apply_async(headers={hooks.HEADER: {"default": 9e12}})
    assert hooks.HEADER not in sent[2]


# -- eagerly ----------------------------------------------------------------------------


def test_eager_task__knows_what_the_caller_wrote_and_is_a_scope_of_its_own(site: Any) -> None:
    outer = current_scope()
    assert site.read.apply().get()["places"] == ["replica"] * 3
    write()
    assert site.read.apply().get()["places"] == ["default"] * 3
    assert site.read_any.apply().get() == ["replica"] * 3
    assert current_scope() is outer


@pytest.mark.parametrize("name", ["write", "fail"])
def test_eager_task__lets_its_caller_read_what_it_wrote(site: Any, name: str) -> None:
    with scope() as outer:
        assert site.read.apply().get()["places"] == ["replica"] * 3
        getattr(site, name).apply()
        assert outer.wrote == {"default"}
        assert site.places() == ["default"] * 3


def test_eager_task__that_fails_closes_its_scope(site: Any) -> None:
    outer = current_scope()
    with suppress(ZeroDivisionError):
        site.fail.apply(throw=True)
    assert current_scope() is outer
    with using_primary():
        assert site.read.apply().get()["places"] == ["default"] * 3


def test_eager_policy__that_is_unknown_is_logged(
    site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert site.read_sometimes.apply().get() == ["default"] * 3
    assert "not 'sometimes'" in caplog.text
