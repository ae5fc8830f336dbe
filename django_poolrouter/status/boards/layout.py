"""The layout of a *board*, the file in which a process shows its pools.

    header    magic, length of the JSON, number of the last instruction carried out, 1 when the
              process has ended, JSON of the process; HEADER bytes in all
    segment   magic, length of the segment, length of the JSON, offset of the words,
              JSON of the pool, words (see ``pooling.counters``); one for each pool

Segments start at multiples of the page size, so that each can be mapped separately.  They are
only ever appended.  A segment's magic is stored last, so a segment that has one is complete.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ...pooling.counters import CELL_WORDS, POOL_WORDS
from .files import parse as parse_json

MAGIC = int.from_bytes(b"DJPOOLR6", "little")
SEGMENT_MAGIC = int.from_bytes(b"DJPOOLS2", "little")
HEADER = mmap.ALLOCATIONGRANULARITY
# Words of the header: the number of the last instruction, and whether the process has ended.
INSTRUCTIONS, ENDED = 2, 3
SUFFIX = ".board"
_PREFIX = struct.Struct("<4q")


def pack_header(process: dict[str, Any]) -> bytes:
    """Return the bytes of the header."""
    text = json.dumps(process).encode()
    return (_PREFIX.pack(MAGIC, len(text), 0, 0) + text).ljust(HEADER, b"\0")


def pack_segment(pool: dict[str, Any], words: int) -> tuple[bytes, int, int]:
    """Return a segment's bytes without the magic, its length, and the offset of its words."""
    text = json.dumps(pool).encode()
    start = -(-(_PREFIX.size + len(text)) // 8) * 8
    length = -(-(start + 8 * words) // HEADER) * HEADER
    return _PREFIX.pack(0, length, len(text), start) + text, length, start


def parse(
    board: memoryview,
) -> tuple[dict[str, Any], int, Iterator[tuple[dict[str, Any], memoryview]]]:
    """Return the process, its last instruction, and its pools, each with its words.

    Raises:
        ValueError: this is not a board, or is one of another version.  A wrong segment raises
            it only when the iterator reaches that pool.

    """
    if len(board) < HEADER:
        raise ValueError("not a board")
    magic, length, instructions, _ = _PREFIX.unpack_from(board)
    if magic != MAGIC or not 0 <= length <= HEADER - _PREFIX.size:
        raise ValueError("not a board of this version")
    process = parse_json(bytes(board[_PREFIX.size : _PREFIX.size + length]))
    match process:
        case {"pid": int(), "command": str(), "started_at": str(at), "takes_instructions": bool()}:
            if datetime.fromisoformat(at).tzinfo is not None:
                return process, instructions, _segments(board)
    raise ValueError("not the description of a process")


def has_ended(board: memoryview) -> bool:
    """Tell whether the process of a board said that it ends."""
    return bool(board[:HEADER].cast("q")[ENDED])


def _segments(board: memoryview) -> Iterator[tuple[dict[str, Any], memoryview]]:
    at = HEADER
    while at + _PREFIX.size <= len(board):
        magic, length, text, start = _PREFIX.unpack_from(board, at)
        if magic != SEGMENT_MAGIC or at + length > len(board):
            return
        if not (text >= 0 and _PREFIX.size + text <= start <= length and length % HEADER == 0):
            raise ValueError("not a segment")
        pool = parse_json(bytes(board[at + _PREFIX.size : at + _PREFIX.size + text]))
        match pool:
            case {"alias": str(), "vendor": str(), "profile": str(), "words": int(words)} if (
                POOL_WORDS <= words <= (length - start) // 8
                and (words - POOL_WORDS) % CELL_WORDS == 0
            ):
                yield pool, board[at + start : at + start + 8 * words].cast("q")
            case _:
                raise ValueError("not the description of a pool")
        at += length
