"""The time limit that shuts a socket down."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from django_poolrouter.drivers.deadlines import Cutter
from tests.support.waiting import LIMIT

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def drivers() -> Iterator[Pair]:
    """The driver's socket and the server's."""
    pair = socket.socketpair()
    yield pair
    for end in pair:
        end.close()


@pytest.fixture
def applications() -> Iterator[Pair]:
    """A socket of the application's, and where it leads to."""
    pair = socket.socketpair()
    yield pair
    for end in pair:
        end.close()


def copy_of(cutter: Cutter) -> int:
    assert cutter._copy is not None
    return cutter._copy.number


def test_time_limit__ends_a_wait_for_the_server(drivers: Pair) -> None:
    cutter = Cutter(drivers[0].fileno(), 0.001)
    drivers[0].settimeout(LIMIT)
    assert drivers[0].recv(1) == b""
    assert cutter.stop()


def test_time_limit__that_ended_in_time_leaves_the_socket_alone(drivers: Pair) -> None:
    cutter = Cutter(drivers[0].fileno(), LIMIT)
    number = copy_of(cutter)
    assert not cutter.stop()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    drivers[1].send(b"!")
    assert drivers[0].recv(1) == b"!"


def test_time_limit__never_shuts_down_or_closes_another_file(
    drivers: Pair, applications: Pair
) -> None:
    """Other code may close the copy, and the next socket gets its number."""
    late, stopped = Cutter(drivers[0].fileno(), LIMIT), Cutter(drivers[0].fileno(), LIMIT)
    numbers = [copy_of(cutter) for cutter in (late, stopped)]
    for number in numbers:
        os.dup2(applications[0].fileno(), number)
    late._cut()  # as the timer does
    assert late.stop()
    assert not stopped.stop()
    for number in numbers:
        os.close(number)  # raises if it was closed before
    applications[1].send(b"!")
    assert applications[0].recv(1) == b"!"
