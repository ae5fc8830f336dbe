"""A board whose descriptors other code closes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from django_poolrouter import conf
from django_poolrouter.pooling import Page, PoolConfig
from django_poolrouter.pooling.counters import CHECKOUTS
from django_poolrouter.process.registry import Registry
from django_poolrouter.status.boards.reader import Found, clear_away, read_boards
from django_poolrouter.status.boards.writer import Board, Publisher

CONFIG = PoolConfig.for_profile("development")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Path:
    monkeypatch.setenv("POOLROUTER_RUNTIME_DIR", str(tmp_path))
    # Other processes that run these tests have the same SECRET_KEY, and boards elsewhere.
    settings.POOLROUTER = {"NAMESPACE": f"test_writer_{os.getpid()}"}
    return tmp_path


@pytest.fixture
def publisher(folder: Path) -> Iterator[Publisher]:
    publisher = Publisher(Registry())
    yield publisher
    publisher.end()


def open_pool(publisher: Publisher, alias: str) -> Page:
    """Let a pool of the alias count a checkout."""
    pool: Any = SimpleNamespace(alias=alias, vendor="sqlite")
    page = publisher.page(pool, CONFIG)
    page.words[CHECKOUTS] += 1
    return page


def board_of(publisher: Publisher) -> Board:
    board = publisher._board
    assert board is not None
    return board


def lose(publisher: Publisher) -> None:
    """Close the descriptors of the board behind its back."""
    board = board_of(publisher)
    os.close(board._lock.number)
    os.close(board._file.number)


def read() -> Found:
    return read_boards(conf.namespace())


def checkouts(found: Found) -> tuple[dict[str, int], dict[str, int]]:
    """Return the checkouts of live processes and of ended ones."""
    living = {pool.alias: pool.status.checkouts for one in found.processes for pool in one.pools}
    return living, {alias: status.checkouts for alias, status in found.ended.pools.items()}


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_process_without_its_lock__lives_as_long_as_it_maps_the_board(
    publisher: Publisher, folder: Path
) -> None:
    page = open_pool(publisher, "shop")
    lose(publisher)
    assert not is_locked(board_of(publisher).path)
    clear_away(folder, conf.namespace())
    assert checkouts(read()) == ({"shop": 1}, {})
    page.words[CHECKOUTS] += 1
    assert checkouts(read()) == ({"shop": 2}, {})


def test_new_pool__is_on_the_same_board_which_is_locked_again(publisher: Publisher) -> None:
    open_pool(publisher, "shop")
    lose(publisher)
    open_pool(publisher, "orders")
    assert is_locked(board_of(publisher).path)
    assert checkouts(read()) == ({"shop": 1, "orders": 1}, {})


def test_upkeep__locks_the_board_again(publisher: Publisher) -> None:
    open_pool(publisher, "shop")
    publisher.upkeep()
    lose(publisher)
    publisher.upkeep()
    assert is_locked(board_of(publisher).path)


def test_numbers_that_lead_to_another_file__are_neither_written_to_nor_closed(
    publisher: Publisher, tmp_path: Path
) -> None:
    open_pool(publisher, "shop")
    board = board_of(publisher)
    numbers = [board._lock.number, board._file.number]
    other = tmp_path / "other"
    with other.open("w+b") as file:
        for number in numbers:
            os.dup2(file.fileno(), number)
        open_pool(publisher, "orders")
        publisher.end()
    assert other.read_bytes() == b""
    for number in numbers:
        os.close(number)


def test_board_that_is_gone_too__is_replaced(publisher: Publisher) -> None:
    open_pool(publisher, "shop")
    board_of(publisher).path.unlink()
    lose(publisher)
    open_pool(publisher, "orders")
    assert checkouts(read()) == ({"orders": 1}, {})


def test_other_file_at_the_path__is_left_alone(publisher: Publisher) -> None:
    open_pool(publisher, "shop")
    path = board_of(publisher).path
    path.unlink()
    with path.open("w+b") as other:
        lose(publisher)
        open_pool(publisher, "orders")
        assert other.read() == b""
    assert board_of(publisher).path != path


def test_end__leaves_totals_alone_and_nothing_is_published_later(
    publisher: Publisher, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_pool(publisher, "shop")
    publisher.end()
    open_pool(publisher, "orders")
    [path] = folder.iterdir()
    assert path.suffix == ".retired"
    assert json.loads(path.read_bytes())["pools"].keys() == {"shop"}
    assert caplog.text == ""


def test_end__without_a_lock_counts_each_pool_once(publisher: Publisher) -> None:
    open_pool(publisher, "shop")
    lose(publisher)
    assert checkouts(read()) == ({"shop": 1}, {})
    publisher.end()
    assert checkouts(read()) == ({}, {"shop": 1})
