"""The position of a PostgreSQL server in its replication log."""

from __future__ import annotations

from collections.abc import Sequence

from ...routing import Position

# This needs no privilege.  But without pg_read_all_stats, received_tli is NULL: after a
# promotion, a replica sees the new timeline only from its next restartpoint on, and counts as
# lagging until then.  On the primary this reads the insert position, not the write position:
# with synchronous_commit off, a transaction is committed before its record is written.
POSITION = b"""
SELECT pg_is_in_recovery()::int,
       (SELECT system_identifier FROM pg_control_system()),
       CASE WHEN pg_is_in_recovery() THEN
           greatest((SELECT timeline_id FROM pg_control_checkpoint()),
                    (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
                    (SELECT received_tli FROM pg_stat_wal_receiver))
       ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
       END,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                            ELSE pg_current_wal_insert_lsn() END, '0/0')::bigint,
       current_setting('wal_block_size')::int,
       pg_size_bytes(current_setting('wal_segment_size')),
       ceil(1e6 * extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))::bigint
"""
# The size in bytes of the header of a page of the log, and of the first page of a file.
PAGE_HEADER = 24
FILE_HEADER = 40


def position(row: Sequence[bytes | int | None], *, of_replica: bool) -> Position | None:
    """Return the position in an answer to POSITION, or None if it has none.

    A primary may be asked as a replica, as in tests, because it shows everything that it
    wrote.  A replica may not be asked as a primary: the answer is None.
    """
    in_recovery, system, timeline, lsn, page, file, age = (
        None if value is None else int(value) for value in row
    )
    if system is None or timeline is None or lsn is None or not page or not file:
        return None
    if in_recovery and not of_replica:
        return None
    end = lsn if in_recovery else end_of_record(lsn, page, file)
    # Negative where the clocks of the two hosts differ.
    seconds = max(0, age) / 1e6 if in_recovery and age is not None else None
    return Position(f"{system}.{timeline}", {"lsn": end}, seconds)


def end_of_record(lsn: int, page: int, file: int) -> int:
    """Return where the last record before an insert position ends.

    If the record ends where a page ends, the insert position is already past the header of
    the next page.  Replay gets past that header only with the next record.
    """
    header = PAGE_HEADER if lsn % file >= page else FILE_HEADER
    in_page = lsn % page
    return lsn - in_page if in_page <= header else lsn
