"""The position of a MySQL or MariaDB server in its replication log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...routing import Position


@dataclass(frozen=True, slots=True)
class Question:
    """A query that returns one row, and the function that turns its columns into a position."""

    sql: bytes
    read: Callable[..., Position | None]

    def position(self, row: Iterable[Any]) -> Position | None:
        """Return the position in the answer, or None if it has none."""
        return self.read(*(v.decode() if isinstance(v, bytes) else v for v in row))


Questions = Mapping[bool, Question]


def of_mariadb(gtids: str) -> Position | None:
    """Return the position that a list of GTIDs (``domain-server-number``) describes."""
    places = {}
    for gtid in gtids.split(","):
        if gtid.strip():
            domain, _, number = gtid.strip().split("-")
            places[domain] = int(number)
    return Position("mariadb", places) if places else None


def written_by_mysql(executed: str, uuid: str) -> Position | None:
    """Return the position of a primary's own last transaction.

    Below its number there may be gaps: transactions that are about to be committed.  A replica
    must have everything up to that number, because its appliers may change the order.
    """
    own = _intervals(executed).get(uuid.lower())
    return Position("mysql", {uuid.lower(): max(end for _, end in own)}) if own else None


def replayed_by_mysql(executed: str) -> Position | None:
    """Return the last number of each server up to which no transaction is missing."""
    places = {
        uuid: end
        for uuid, intervals in _intervals(executed).items()
        for start, end in intervals
        if start == 1
    }
    return Position("mysql", places) if places else None


def _intervals(executed: str) -> dict[str, list[tuple[int, int]]]:
    """Parse ``uuid:1-5:8,uuid:3``.  Numbers that follow a tag (tagged GTIDs) do not count."""
    found: dict[str, list[tuple[int, int]]] = {}
    for part in executed.split(","):
        uuid, *intervals = part.strip().lower().split(":")
        for interval in intervals:
            if not interval[:1].isdigit():
                break
            start, _, end = interval.partition("-")
            found.setdefault(uuid, []).append((int(start), int(end or start)))
    return found


_EXECUTED = b"SELECT @@global.gtid_executed, @@global.server_uuid"
# What to ask: True is for MariaDB, False for MySQL.
WRITTEN: Questions = {
    True: Question(b"SELECT @@global.gtid_binlog_pos", of_mariadb),
    False: Question(_EXECUTED, written_by_mysql),
}
# A server that never was a replica has an empty gtid_slave_pos.  If it is asked as one, as a
# mirror is in tests, it shows everything that it wrote itself.
REPLAYED: Questions = {
    True: Question(
        b"SELECT IF(@@global.gtid_slave_pos = '', @@global.gtid_binlog_pos,"
        b" @@global.gtid_slave_pos)",
        of_mariadb,
    ),
    False: Question(b"SELECT @@global.gtid_executed", replayed_by_mysql),
}
