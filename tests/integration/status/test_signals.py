"""Django signals for rare events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.dispatch import Signal

from django_poolrouter import PoolExhausted, PoolTimeout, pools
from django_poolrouter.process.database_pool import DatabasePool
from django_poolrouter.process.registry import registry
from django_poolrouter.signals import (
    connection_lost,
    pool_exhausted,
    replica_ejected,
    replica_restored,
)
from tests.conftest import Vendor
from tests.support.doubles import Task
from tests.support.waiting import eventually

KILL = {"postgresql": "SELECT pg_terminate_backend({}, 5000)", "mariadb": "KILL {}"}


@pytest.fixture
def heard() -> Iterator[Callable[[Signal], list[dict[str, Any]]]]:
    """Collect what a signal brings, beside a receiver that fails."""
    connected = []

    def fail(**kwargs: Any) -> None:
        raise RuntimeError("a receiver's own bug")

    def listen(signal: Signal) -> list[dict[str, Any]]:
        brought: list[dict[str, Any]] = []

        def receive(**kwargs: Any) -> None:
            brought.append(kwargs)

        for receiver in (fail, receive):
            signal.connect(receiver, weak=False)
            connected.append((signal, receiver))
        return brought

    yield listen
    for signal, receiver in connected:
        signal.disconnect(receiver)


@pytest.mark.parametrize(
    ("options", "error"), [({}, PoolTimeout), ({"max_waiting": 1}, PoolExhausted)]
)
def test_pool_exhausted__is_sent_when_a_caller_gets_no_connection(
    vendor: Vendor, use_databases: Any, heard: Any, options: Any, error: type[Exception]
) -> None:
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2, **options}
    use_databases({"default": vendor.database(pool)})
    sent = heard(pool_exhausted)
    connection.ensure_connection()
    if options:
        first = Task(pools["default"].checkout, 10)
        eventually(lambda: pools["default"].status().waiting == 1)
    with pytest.raises(error) as caught:
        pools["default"].checkout()
    if options:
        connection.close()
        lease = first.result()
        lease.pool.checkin(lease)
    [event] = sent
    assert (event["sender"], event["alias"]) == (DatabasePool, "default")
    assert event["pool"] is pools["default"]
    assert event["error"] is caught.value


def test_connection_lost__is_sent_for_each_that_is_found_dead(
    server: Vendor, use_databases: Any, heard: Any, caplog: pytest.LogCaptureFixture
) -> None:
    use_databases({"default": server.database()})
    caplog.set_level("INFO", "django_poolrouter")
    sent = heard(connection_lost)
    pool = pools["default"]
    with pool.connection(), pool.connection():
        pass
    assert sent == []
    with pool.connection() as other, pool.connection() as raw:  # the last one back is lent next
        assert pool.connector is not None
        backend = pool.connector.backend_id(other)
        raw.cursor().execute(KILL[server.name].format(backend))
    connection.ensure_connection()
    connection.close()
    assert [(event["alias"], event["backend"]) for event in sent] == [("default", backend)]
    assert f"pool default: the connection of session {backend} is lost" in caplog.text


def test_replica__that_is_ejected_and_comes_back_is_told_of(
    server: Vendor, use_databases: Any, heard: Any
) -> None:
    replica = server.database(ROUTER={"REPLICA_OF": "default"})
    use_databases({"default": server.database(), "replica": replica})
    ejected, restored = heard(replica_ejected), heard(replica_restored)
    known = registry.topology.clusters["default"].health
    for _ in range(2):
        known.eject("replica")
    assert [(event["alias"], event["cluster"]) for event in ejected] == [("replica", "default")]
    assert restored == []
    for _ in range(2):
        known.readmit("replica")
    assert [(event["alias"], event["cluster"]) for event in restored] == [("replica", "default")]
