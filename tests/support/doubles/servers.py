"""Servers with replication logs that a test moves by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django_poolrouter.routing import NotAsked, Position, ServerFailed


class FakeServers:
    """Answers with what the test put into `logs`; an exception there is raised."""

    def __init__(self, **logs: int | Exception | None) -> None:
        self.logs = logs
        self.epoch = "a"
        self.asked: list[str] = []

    @contextmanager
    def log_of(self, alias: str) -> Iterator[FakeLog]:
        log = self.logs[alias]
        if isinstance(log, NotAsked):
            raise log
        yield FakeLog(self, alias)


class FakeLog:
    def __init__(self, servers: FakeServers, alias: str) -> None:
        self._servers = servers
        self._alias = alias

    def written(self) -> Position | None:
        self._servers.asked.append(self._alias)
        log = self._servers.logs[self._alias]
        if isinstance(log, ServerFailed):
            raise log
        return Position(self._servers.epoch, {"": log}) if isinstance(log, int) else None

    replayed = written
