"""Celery's tasks on real replicas: each carries its sender's position.

A pin would last for a minute here, so a task that reads what was written from a replica was
led there by its position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction

from django_poolrouter import scope
from tests.support.databases import configured
from tests.support.skips import require_package
from tests.support.testapp.replicated import Shop
from tests.support.testapp.shop.models import Author
from tests.support.testapp.site import PORT

require_package("celery")
from celery import signals  # noqa: E402

from django_poolrouter.contrib.celery.hooks import HEADER  # noqa: E402


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def shop(request: pytest.FixtureRequest, django_db_blocker: Any) -> Shop:
    shop = Shop(request.param, request.getfixturevalue(request.param), "jobs")
    with django_db_blocker.unblock(), configured(shop.databases()):
        shop.seed()
    return shop


@pytest.fixture(scope="module")
def databases(shop: Shop) -> dict[str, Any]:
    return shop.databases(PIN_SECONDS=60, MAX_LAG=None)


@pytest.fixture(scope="module")
def worker(start_worker: Callable[..., Path], databases: dict[str, Any]) -> Path:
    return start_worker(databases)


@pytest.fixture
def sender(databases: dict[str, Any], use_databases: Any, shop: Shop) -> Iterator[None]:
    """A request's scope in which nothing has happened; the row that tasks look for is nowhere."""
    use_databases(databases)
    with scope():
        Author.objects.filter(name="new").delete()
    shop.servers.wait_for_replicas()
    with scope():
        yield
        connections.close_all()


@pytest.fixture
def catch_up(shop: Shop, sender: None) -> Iterator[Callable[[], None]]:
    """Have the replicas show nothing new; return what lets them catch up."""

    def catch_up() -> None:
        for replica in shop.servers.replicas:
            shop.catch_up(replica)
        shop.servers.wait_for_replicas()

    for replica in shop.servers.replicas:
        shop.fall_behind(replica)
    yield catch_up
    catch_up()


@pytest.fixture
def primary(shop: Shop) -> int:
    """The port of the primary."""
    return shop.servers.ports["primary"]


@pytest.fixture
def send(sender: None, project: Any, worker: Path, shop: Shop) -> Callable[[str], Any]:
    """Send Celery a task of this policy; what is returned waits for its answer."""

    def send(reads: str = "wait") -> Any:
        sent = getattr(project, f"look_{reads}").delay("new", PORT[shop.kind])
        return lambda: sent.get(timeout=30)

    return send


def write() -> None:
    Author.objects.create(name="new")


def test_task__reads_from_the_primary_until_a_replica_has_what_its_sender_wrote(
    send: Any, catch_up: Any, primary: int
) -> None:
    write()
    assert send()() == [primary, True]
    catch_up()
    port, found = send()()
    assert port != primary
    assert found


def test_policy__says_whether_the_position_counts(send: Any, catch_up: Any, primary: int) -> None:
    write()
    port, found = send("any")()
    assert port != primary
    assert not found
    catch_up()
    assert send("primary")() == [primary, True]


@pytest.fixture
def carried(sender: None) -> Iterator[list[Any]]:
    """What the headers of each task that was sent say of the cluster."""
    carried = []

    def note(*, headers: dict[str, Any], **kwargs: Any) -> None:
        carried.append(headers[HEADER]["default"])

    signals.before_task_publish.connect(note)
    yield carried
    signals.before_task_publish.disconnect(note)


def test_position__is_never_one_of_before_the_commit(
    send: Any, carried: list[Any], catch_up: Any, primary: int
) -> None:
    Author.objects.create(name="other")  # from now on there is one
    sent = []
    with transaction.atomic():
        write()
        transaction.on_commit(lambda: sent.append(send()))
        assert send()() == [primary, False]
    assert sent[0]() == [primary, True]
    pin, position = carried
    assert isinstance(pin, float)
    assert isinstance(position, list)
