"""What lies among the status files and is none, or is broken: it costs nobody anything."""

from __future__ import annotations

import fcntl
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from django_poolrouter.pooling import PoolConfig, PoolStatus
from django_poolrouter.pooling.counters import words_needed
from django_poolrouter.process.mappings import pools
from django_poolrouter.process.registry import registry
from django_poolrouter.status.boards import layout, replica_health, totals, writer
from django_poolrouter.status.boards.control import Instructions, load
from django_poolrouter.status.boards.reader import clear_away, read_boards

WORDS = words_needed(3)
parse = layout.parse
PROCESS = {
    "pid": 1,
    "command": "-c",
    "started_at": "2026-01-01T00:00:00+00:00",
    "takes_instructions": True,
}
POOL = {"alias": "default", "vendor": "sqlite", "profile": "tiny", "words": WORDS}


def segment(values: dict[int, int] | None = None, size: int | None = None, **changes: Any) -> bytes:
    """Return a segment with some of its words, its length, or what it tells changed."""
    content, length, start = layout.pack_segment({**POOL, **changes}, WORDS)
    board = bytearray(content.ljust(length, b"\0"))
    struct.pack_into("<2q", board, 0, layout.SEGMENT_MAGIC, length if size is None else size)
    for word, value in (values or {}).items():
        struct.pack_into("<q", board, start + 8 * word, value)
    return bytes(board)


def head(*numbers: int) -> bytes:
    return struct.pack("<4q", *numbers).ljust(layout.HEADER, b" ")


HEADER = layout.pack_header(PROCESS)
BOARDS = {
    "empty": b"",
    "10 bytes": b"0123456789",
    "other": b"x" * 5000,
    "half a header": HEADER[:100],
    "no JSON": head(layout.MAGIC, 10, 0, 0),
    "no object": head(layout.MAGIC, 2, 0, 0).replace(b"  ", b"[]"),
    "deep": head(layout.MAGIC, 4000, 0, 0).replace(b" ", b"["),
    "length below 0": head(layout.MAGIC, -1, 0, 0),
    "length too long": head(layout.MAGIC, 10**9, 0, 0),
    "no pid": layout.pack_header({k: v for k, v in PROCESS.items() if k != "pid"}),
    "no number": layout.pack_header({**PROCESS, "pid": "x"}),
    "no time": layout.pack_header({**PROCESS, "started_at": "soon"}),
    "no zone": layout.pack_header({**PROCESS, "started_at": "2026-01-01T00:00:00"}),
    "too few words": HEADER + segment(words=4),
    "too many words": HEADER + segment(words=10**6),
    "half a cell": HEADER + segment(words=WORDS + 1),
    "no words": HEADER + segment(words=None),
    "no alias": HEADER + segment(alias=[]),
    "no state": HEADER + segment({replica_health.SEEN: 2**62, replica_health.STATE: 99}),
    "segment of no length": HEADER + segment(size=0),
    "segment that goes back": HEADER + segment(size=-layout.HEADER),
    "segment shorter than its head": HEADER + segment(size=8),
    "text too long": HEADER + head(layout.SEGMENT_MAGIC, layout.HEADER, 10**9, 64),
    "text below 0": HEADER + head(layout.SEGMENT_MAGIC, layout.HEADER, -1, 64),
    "start below 0": HEADER + head(layout.SEGMENT_MAGIC, layout.HEADER, 2, -64),
}
COUNTERS = {
    **dict.fromkeys(totals.COUNTERS, 1),
    "wait_buckets": PoolStatus.unopened().wait_buckets,
}


def kept(**changes: Any) -> bytes:
    pool = {"processes": 1, **COUNTERS, **changes}
    return json.dumps({"version": totals.VERSION, "boards": [], "pools": {"a": pool}}).encode()


RETIRED = {
    "empty": b"",
    "list": b"[]",
    "deep": b"[" * 10**5,
    "no pools": json.dumps({"version": totals.VERSION, "boards": [], "pools": []}).encode(),
    "no figures": json.dumps({"version": totals.VERSION, "boards": [], "pools": {"a": 1}}).encode(),
    "no names": json.dumps({"version": totals.VERSION, "boards": [1], "pools": {}}).encode(),
    "no number": kept(checkouts="x"),
    "not a number": kept(waited=float("nan")),
    "no count": kept(processes=None),
    "no buckets": kept(wait_buckets=None),
    "too few buckets": kept(wait_buckets=[1]),
}
INSTRUCTIONS = {
    "empty": b"",
    "list": b"[]",
    "deep": b"[" * 10**5,
    "no number": b'{"number": "x", "resets": {}, "drained": []}',
    "no room for the number": b'{"number": %d, "resets": {}, "drained": []}' % 2**63,
    "list of resets": b'{"number": 1, "resets": [], "drained": []}',
    "no resets": b'{"number": 1, "resets": {"a": "x"}, "drained": []}',
    "text": b'{"number": 1, "resets": {}, "drained": "abc"}',
    "lists": b'{"number": 1, "resets": {}, "drained": [[]]}',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POOLROUTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_board__of_the_same_making_is_read(folder: Path) -> None:
    """Else what follows would say nothing."""
    (folder / "shop-1_aa.board").write_bytes(HEADER + segment())
    found = read_boards("shop")
    assert (found.ended.processes, found.warnings) == ({"default": 1}, [])


@pytest.mark.parametrize("content", BOARDS.values(), ids=BOARDS)
def test_board__that_is_garbage_and_nobodys_is_removed(folder: Path, content: bytes) -> None:
    path = folder / "shop-1_aa.board"
    path.write_bytes(content)
    found = read_boards("shop")
    assert (found.processes, found.ended.pools, found.warnings) == ([], {}, [])
    assert not path.exists()


@pytest.mark.parametrize("content", BOARDS.values(), ids=BOARDS)
def test_board__that_is_garbage_and_in_use_is_left_and_told(folder: Path, content: bytes) -> None:
    path = folder / "shop-1_aa.board"
    path.write_bytes(content)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = read_boards("shop")
        assert found.processes == []
        assert found.warnings == [f"{path} was written by another version of django-poolrouter"]
        assert path.exists()


@pytest.mark.parametrize("suffix", ["board", "retired", "control"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path)])
def test_name__of_what_is_no_file_keeps_nobody_waiting(
    folder: Path, suffix: str, make: Any
) -> None:
    path = folder / f"shop-1_aa.{suffix}"
    make(path)
    found = read_boards("shop")
    assert found.processes == []
    assert [str(path) in line for line in found.warnings] == [True] * (suffix == "board")
    assert load(path) == Instructions()
    clear_away(folder, "shop")


def test_clearing__reads_no_board_of_the_living(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every worker clears at its start, and there may be hundreds."""
    read: list[str] = []
    monkeypatch.setattr(layout, "parse", lambda board: read.append("board") or parse(board))
    for name in ("shop-1_aa.board", "shop-2_bb.board"):
        (folder / name).write_bytes(HEADER + segment())
    with (folder / "shop-1_aa.board").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        clear_away(folder, "shop")
    assert [path.name for path in folder.glob("*.board")] == ["shop-1_aa.board"]
    assert read == ["board"]


def test_clearing__makes_no_folder(folder: Path) -> None:
    clear_away(folder / "nowhere", "shop")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("error", [OSError("the disk is broken"), ValueError("our mistake")])
def test_clearing__never_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Any
) -> None:
    """It leaves boards that it cannot count to the next process that clears."""
    boards = [folder / f"shop-{number}_aa.board" for number in (1, 2)]
    for board in boards:
        board.write_bytes(HEADER + segment())

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch, caplog.at_level("DEBUG", "django_poolrouter.status"):
        patch.setattr(totals, "fold", fail)
        clear_away(folder, "shop")
    assert sorted(folder.glob("*.board")) == boards
    assert f"stay in {folder}: {error}" in caplog.text
    clear_away(folder, "shop")
    assert list(folder.glob("*.board")) == []


@pytest.mark.parametrize("content", RETIRED.values(), ids=RETIRED)
def test_totals__that_are_garbage_begin_anew(folder: Path, content: bytes) -> None:
    path = folder / f"shop-{os.getuid()}.retired"
    path.write_bytes(content)
    (folder / "shop-1_aa.board").write_bytes(HEADER + segment())
    for _ in range(2):
        assert read_boards("shop").ended.processes == {"default": 1}
    assert json.loads(path.read_bytes())["pools"].keys() == {"default"}


def test_totals__name_no_file_to_remove_but_boards_of_the_dead(folder: Path) -> None:
    other, mine = folder / "other", folder / "shop-2_bb.board"
    other.touch()
    mine.write_bytes(HEADER + segment())
    boards = [str(other), "other", mine.name, "\0"]
    (folder / f"shop-{os.getuid()}.retired").write_text(
        json.dumps({"version": totals.VERSION, "boards": boards, "pools": {}})
    )
    read_boards("shop")
    assert (other.exists(), mine.exists()) == (True, False)


@pytest.mark.parametrize("content", INSTRUCTIONS.values(), ids=INSTRUCTIONS)
def test_instructions__that_are_garbage_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "shop-1.control"
    path.write_bytes(content)
    assert load(path) == Instructions()


def test_publisher__that_fails_in_any_way_leaves_the_pools_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> Any:
        raise RuntimeError("never thought of")

    monkeypatch.setattr(writer, "prepare", fail)
    config = PoolConfig(
        pool_size=3, max_overflow=0, pool_timeout=1, pool_recycle=None, pool_pre_ping=None
    )
    page = writer.Publisher(registry).page(pools["default"], config)
    assert len(page.words) == WORDS
    assert "is not shown to poolstatus: never thought of" in caplog.text
