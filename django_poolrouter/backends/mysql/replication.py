"""Where the log of a MySQL or MariaDB server stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...routing import Position


@dataclass(frozen=True, slots=True)
class Question:
    """A query of one row, and what makes a position of its columns."""

    sql: bytes
    read: Callable[..., Position | None]

    def position(self, row: Iterable[Any]) -> Position | None:
        """Return the position in the answer; None if it has none."""
        return self.read(*(v.decode() if isinstance(v, bytes) else v for v in row))


Questions = Mapping[bool, Question]


def of_mariadb(gtids: str) -> Position | None:
    """Return the position that a list of GTIDs, ``domain-server-number``, stands for."""
    places = {}
    for gtid in gtids.split(","):
        if gtid.strip():
            domain, _, number = gtid.strip().split("-")
            places[domain] = int(number)
    return Position("mariadb", places) if places else None


def written_by_mysql(executed: str, uuid: str) -> Position | None:
    """Return how far a primary's own transactions go.

    Its highest number may have gaps below, of transactions that are about to be committed;
    a replica must have all up to there, as its appliers may change their order.
    """
    own = _intervals(executed).get(uuid.lower())
    return Position("mysql", {uuid.lower(): max(end for _, end in own)}) if own else None


def replayed_by_mysql(executed: str) -> Position | None:
    """Return up to which number of each server everything is there, without a gap."""
    places = {
        uuid: end
        for uuid, intervals in _intervals(executed).items()
        for start, end in intervals
        if start == 1
    }
    return Position("mysql", places) if places else None


def _intervals(executed: str) -> dict[str, list[tuple[int, int]]]:
    """Parse ``uuid:1-5:8,uuid:3``; numbers of tagged GTIDs, behind a tag, do not count."""
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
# Whether the server is a MariaDB -> what to ask it.
WRITTEN: Questions = {
    True: Question(b"SELECT @@global.gtid_binlog_pos", of_mariadb),
    False: Question(_EXECUTED, written_by_mysql),
}
# A server that never was a replica has no gtid_slave_pos: as a test's mirror, say, it
# shows all that it wrote itself.
REPLAYED: Questions = {
    True: Question(
        b"SELECT IF(@@global.gtid_slave_pos = '', @@global.gtid_binlog_pos,"
        b" @@global.gtid_slave_pos)",
        of_mariadb,
    ),
    False: Question(b"SELECT @@global.gtid_executed", replayed_by_mysql),
}
