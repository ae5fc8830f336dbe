"""The file in which a process shows its pools, a *board*.

    header    magic, length of the JSON, number of the last order carried out, JSON of the
              process; HEADER bytes in all
    segment   magic, length of the segment, length of the JSON, offset of the words,
              JSON of the pool, words (see ``pooling.counters``); one for each pool

Segments start at multiples of the page size, so that each can be mapped by itself, and
are only ever appended.  A segment's magic is stored last: what has one is complete.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterator
from typing import Any

MAGIC = int.from_bytes(b"DJPOOLR3", "little")
SEGMENT_MAGIC = int.from_bytes(b"DJPOOLS2", "little")
HEADER = mmap.ALLOCATIONGRANULARITY
ORDERS = 2  # the word of the header with the number of the last order
SUFFIX = ".board"
_PREFIX = struct.Struct("<4q")


def pack_header(process: dict[str, Any]) -> bytes:
    """Return the bytes of the header."""
    text = json.dumps(process).encode()
    return (_PREFIX.pack(MAGIC, len(text), 0, 0) + text).ljust(HEADER, b"\0")


def pack_segment(pool: dict[str, Any], words: int) -> tuple[bytes, int, int]:
    """Return a segment's bytes but for the magic, its length and where its words start."""
    text = json.dumps(pool).encode()
    start = -(-(_PREFIX.size + len(text)) // 8) * 8
    length = -(-(start + 8 * words) // HEADER) * HEADER
    return _PREFIX.pack(0, length, len(text), start) + text, length, start


def parse(
    board: memoryview,
) -> tuple[dict[str, Any], int, Iterator[tuple[dict[str, Any], memoryview]]]:
    """Return the process, its last order, and its pools, each with its words.

    Raises:
        ValueError: this is no board, or one of another version.

    """
    magic, length, orders, _ = _PREFIX.unpack_from(board)
    if magic != MAGIC:
        raise ValueError("not a board of this version")
    process = json.loads(bytes(board[_PREFIX.size : _PREFIX.size + length]))
    return process, orders, _segments(board)


def _segments(board: memoryview) -> Iterator[tuple[dict[str, Any], memoryview]]:
    at = HEADER
    while at + _PREFIX.size <= len(board):
        magic, length, text, start = _PREFIX.unpack_from(board, at)
        if magic != SEGMENT_MAGIC or at + length > len(board):
            return
        pool = json.loads(bytes(board[at + _PREFIX.size : at + _PREFIX.size + text]))
        yield pool, board[at + start : at + start + 8 * pool["words"]].cast("q")
        at += length
