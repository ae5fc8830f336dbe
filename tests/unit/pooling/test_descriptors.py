"""Descriptors that other code closes, and whose numbers lead to other files then."""

from __future__ import annotations

import gc
import os
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest

from django_poolrouter.pooling import Pool, PoolConfig
from django_poolrouter.pooling.descriptors import Descriptor, OwnDescriptor, silent_descriptor
from tests.support.doubles import FakeConnection, FakeConnector, ManualClock
from tests.unit.pooling.conftest import OPTIONS, use_once


@pytest.fixture
def other(tmp_path: Path) -> Iterator[IO[bytes]]:
    """A file that other code opens."""
    with (tmp_path / "other").open("w+b", buffering=0) as file:
        yield file


@pytest.fixture
def own(tmp_path: Path) -> OwnDescriptor:
    return OwnDescriptor(os.open(tmp_path / "own", os.O_RDWR | os.O_CREAT))


def take(descriptor: Descriptor, file: IO[bytes]) -> int:
    """Let the number lead to another file, and return it."""
    return os.dup2(file.fileno(), descriptor.number)


def is_open(number: int) -> bool:
    with suppress(OSError):
        os.fstat(number)
        return True
    return False


def test_descriptor__is_intact_until_it_is_closed(own: OwnDescriptor) -> None:
    assert own.is_intact
    assert own.use() == own.number
    os.close(own.number)
    assert not own.is_intact
    assert own.is_free
    with pytest.raises(OSError, match="another part of the program closed"):
        own.use()


def test_descriptor__whose_number_leads_to_another_file_is_not_closed(
    own: OwnDescriptor, other: IO[bytes]
) -> None:
    number = take(own, other)
    assert not own.is_intact
    assert not own.is_free
    own.close()
    assert is_open(number)
    os.close(number)


def test_descriptor__is_closed_once(own: OwnDescriptor, other: IO[bytes]) -> None:
    number = own.number
    own.close()
    assert not is_open(number)
    os.dup2(other.fileno(), number)
    own.close()
    assert is_open(number)
    os.close(number)


def test_dropped_descriptor__is_closed_if_it_is_intact(own: OwnDescriptor, tmp_path: Path) -> None:
    number = OwnDescriptor(os.dup(own.number)).number
    gc.collect()
    assert not is_open(number)
    own.close()


def test_socket_that_cannot_be_compared__counts_as_intact() -> None:
    """As on Windows, where a socket is no descriptor."""
    assert Descriptor(10**6).is_intact


def test_silent_descriptor__has_news_only_when_it_was_closed(other: IO[bytes]) -> None:
    silent = silent_descriptor()
    assert silent is not None
    poll = select.poll()
    poll.register(silent.number, select.POLLIN | select.POLLPRI)
    assert poll.poll(0) == []
    number = take(silent, other)
    assert poll.poll(0) != []
    os.close(number)
    assert poll.poll(0) != []
    assert not silent.is_intact


# -- in a pool ------------------------------------------------------------------------------


class Fixture:
    """A pool with one idle connection, and what a driver may say of its socket."""

    def __init__(self, connector: FakeConnector) -> None:
        self.connector = connector
        self.lost: list[Any] = []
        self.pool = Pool(
            "shop",
            PoolConfig(**OPTIONS),
            connector,
            clock=ManualClock(),
            on_lost=self.lost.append,
        )
        use_once(self.pool)

    @property
    def connection(self) -> FakeConnection:
        return self.connector.opened[0]

    def lose_socket(self) -> int:
        """Close the socket behind the driver's back; return the number that the driver tells."""
        number = self.connection.fileno()
        assert number is not None
        self.connection.fileno = lambda: number  # type: ignore[method-assign]
        assert self.connection._sockets
        self.connection._sockets[0].close()
        return number


@pytest.fixture
def with_socket() -> Iterator[Fixture]:
    fixture = Fixture(FakeConnector(with_sockets=True))
    yield fixture
    fixture.pool.close()


@pytest.fixture
def without_socket() -> Iterator[Fixture]:
    fixture = Fixture(FakeConnector())
    yield fixture
    fixture.pool.close()


def test_checkout__uses_no_number_that_leads_to_another_file(
    with_socket: Fixture, other: IO[bytes]
) -> None:
    number = os.dup2(other.fileno(), with_socket.lose_socket())
    use_once(with_socket.pool)
    assert with_socket.connector.pinged == []
    assert len(with_socket.connector.opened) == 2
    assert not with_socket.connection.closed
    assert with_socket.pool.status().lost == len(with_socket.lost) == 1
    assert is_open(number)
    os.close(number)


def test_clear__closes_no_number_that_leads_to_another_file(
    with_socket: Fixture, other: IO[bytes]
) -> None:
    number = os.dup2(other.fileno(), with_socket.lose_socket())
    with_socket.pool.clear()
    assert not with_socket.connection.closed
    assert with_socket.pool.is_empty
    os.close(number)


def test_fork__leaves_a_number_that_leads_to_another_file_alone(
    with_socket: Fixture, other: IO[bytes]
) -> None:
    use_once(with_socket.pool, 2)
    number = os.dup2(other.fileno(), with_socket.lose_socket())
    with_socket.pool.abandon()
    assert with_socket.connector.abandoned == [with_socket.connector.opened[1]]
    os.close(number)


def test_connection_whose_driver_closed_the_socket__is_closed(
    with_socket: Fixture, other: IO[bytes]
) -> None:
    """Psycopg does so when the server ends the session; not to close it would leak memory."""
    number = with_socket.lose_socket()

    def raises() -> int:
        raise RuntimeError("the connection is closed")

    with_socket.connection.fileno = raises  # type: ignore[method-assign]
    os.dup2(other.fileno(), number)
    with_socket.pool.clear()
    assert with_socket.connection.closed
    os.close(number)


def test_connection_whose_number_leads_nowhere__is_closed(with_socket: Fixture) -> None:
    """Mysqlclient goes on to tell the number when the server ended the session."""
    with_socket.lose_socket()
    with_socket.pool.clear()
    assert with_socket.connection.closed


def test_connection_whose_driver_opened_another_socket__is_pinged(with_socket: Fixture) -> None:
    pair = socket.socketpair()
    with_socket.lose_socket()
    with_socket.connection.fileno = pair[0].fileno  # type: ignore[method-assign]
    use_once(with_socket.pool)
    assert with_socket.connector.pinged == [with_socket.connection]
    assert with_socket.lost == []
    for end in pair:
        end.close()


def test_connection_without_a_socket__is_neither_used_nor_closed_when_all_was_closed(
    without_socket: Fixture, other: IO[bytes]
) -> None:
    """SQLite tells none of its descriptors, so the pool has one beside them."""
    silent = without_socket.pool._lifecycle._silent
    assert silent is not None
    number = take(silent, other)
    use_once(without_socket.pool)
    assert without_socket.connector.pinged == []
    assert not without_socket.connection.closed
    assert len(without_socket.connector.opened) == 2
    assert is_open(number)
    os.close(number)
    without_socket.pool.clear()
    assert without_socket.connector.opened[1].closed


def count() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_pool_that_is_dropped__leaves_no_descriptor() -> None:
    gc.collect()
    before = count()
    fixture = Fixture(FakeConnector())
    assert count() == before + 1
    fixture.pool.close()
    del fixture
    gc.collect()
    assert count() == before
