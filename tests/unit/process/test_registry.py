"""The end of the threads of a process."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from django_poolrouter.pooling import Housekeeper
from django_poolrouter.process.registry import Registry


class Kept:
    """An object that needs upkeep now and then."""

    upkeep_interval: float | None = 100.0
    asks_for_thread = False

    def upkeep(self) -> None:
        """Do nothing."""


@pytest.fixture
def registry() -> Any:
    registry = Registry()
    yield registry
    registry.housekeeper.stop()


def housekeepers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "poolrouter-housekeeper"]


def test_fork__stops_the_monitor_before_the_thread_that_it_may_start(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A monitor that opens a connection meanwhile has the housekeeper watch the pool."""
    kept = Kept()
    registry.housekeeper.watch(kept)
    stop = registry.monitor.stop

    def open_a_connection_and_stop() -> None:
        registry.housekeeper.watch(kept)
        stop()

    monkeypatch.setattr(registry.monitor, "stop", open_a_connection_and_stop)
    assert len(housekeepers()) == 1
    registry.before_fork()
    assert housekeepers() == []


def test_housekeeper__starts_no_thread_after_its_end() -> None:
    kept, housekeeper = Kept(), Housekeeper()
    housekeeper.watch(kept)
    housekeeper.end()
    housekeeper.watch(kept)
    assert housekeepers() == []
