"""Places in a replication log: which has what, and how they travel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_poolrouter.backends.mysql import replication as mysql
from django_poolrouter.backends.postgresql import replication as postgresql
from django_poolrouter.routing import Position
from django_poolrouter.routing.positions import MAX_STREAMS

PAGE, FILE = 8192, 16 * 1024 * 1024

streams = st.dictionaries(
    st.text("abcdef0123456789-", min_size=1), st.integers(0, 2**63), min_size=1, max_size=8
)
positions = st.builds(Position, st.text("abc0123456789.", max_size=20), streams)


def at(*places: int, epoch: str = "a") -> Position:
    return Position(epoch, {str(stream): place for stream, place in enumerate(places)})


@pytest.mark.parametrize(
    ("there", "wanted", "reached"),
    [
        (at(5), at(5), True),
        (at(6), at(5), True),
        (at(4), at(5), False),
        (at(6, epoch="b"), at(5), False),
        (at(5, 5), at(5), True),
        (at(9), at(5, 1), False),
        (at(9, 0), at(5, 1), False),
        (at(9, 1), at(5, 1), True),
        (at(9), at(5, 0), False),
    ],
)
def test_reaches__compares_all_streams_of_one_epoch(
    there: Position, wanted: Position, reached: bool
) -> None:
    assert there.reaches(wanted) is reached


@given(positions)
def test_position__travels_as_text(position: Position) -> None:
    assert Position.parse(str(position)) == position
    assert position.reaches(position)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a/", "a/x", "a/x=", "a/x=y", "a/x=-1", "a/x=1.5", "a/x=1,", "a/x=²", "a/=,="),
        "a/" + ",".join(f"{n}=1" for n in range(MAX_STREAMS + 1)),
    ],
)
def test_text__that_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a position"):
        Position.parse(text)


def test_position__of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="without any stream"):
        Position("a", {})


# -- PostgreSQL -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lsn", "end"),
    [
        (3 * PAGE + 24, 3 * PAGE),  # the insert position after a record that ends the page
        (3 * PAGE, 3 * PAGE),
        (3 * PAGE + 32, 3 * PAGE + 32),  # a record that goes on over the boundary
        (3 * PAGE - 8, 3 * PAGE - 8),
        (5 * FILE + 40, 5 * FILE),
        (5 * FILE + 48, 5 * FILE + 48),
        (5 * FILE + PAGE + 40, 5 * FILE + PAGE + 40),
    ],
)
def test_postgresql__end_of_a_page_is_not_behind_the_next_header(lsn: int, end: int) -> None:
    assert postgresql.end_of_record(lsn, PAGE, FILE) == end


def answer(recovery: int, lsn: bytes | None, timeline: bytes | None = b"2") -> list[bytes | None]:
    return [str(recovery).encode(), b"77", timeline, lsn, b"8192", b"16777216", b"1500000"]


@pytest.mark.parametrize(
    ("row", "of_replica", "found"),
    [
        (answer(0, b"100000"), False, 100000),
        (answer(0, b"100000"), True, 100000),
        (answer(1, b"100000"), True, 100000),
        (answer(1, b"100000"), False, None),  # no primary any more
        (answer(1, None), True, None),  # a fresh standby
        (answer(1, b"100000", None), True, None),
        (answer(0, b"8216"), False, 8192),
        (answer(1, b"8216"), True, 8216),
    ],
)
def test_postgresql__position_is_that_of_the_role(
    row: list[bytes | None], of_replica: bool, found: int | None
) -> None:
    position = postgresql.position(row, of_replica=of_replica)
    assert position == (None if found is None else Position("77.2", {"lsn": found}))
    if position is not None:
        assert position.age == (1.5 if row[0] == b"1" else None)


# -- MariaDB and MySQL ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gtids", "places"),
    [("0-1-8", {"0": 8}), ("0-1-8,\n12-3-5", {"0": 8, "12": 5}), ("", None)],
)
def test_mariadb__has_a_number_for_each_domain(gtids: str, places: dict[str, int] | None) -> None:
    assert mysql.of_mariadb(gtids) == (Position("mariadb", places) if places else None)


@pytest.mark.parametrize(
    ("executed", "written", "replayed"),
    [
        ("AA:1-5", 5, 5),
        ("aa:1", 1, 1),
        ("aa:1-5:8", 8, 5),  # 6 and 7 are about to be committed, or were filtered
        ("aa:3-5", 5, None),
        ("bb:1-9,\naa:1-5", 5, 5),
        ("aa:1-5:tag:1-7", 5, 5),
        ("bb:1-9", None, None),
        ("", None, None),
    ],
)
def test_mysql__has_a_number_for_each_server(
    executed: str, written: int | None, replayed: int | None
) -> None:
    position = mysql.written_by_mysql(executed, "AA")
    assert position == (Position("mysql", {"aa": written}) if written else None)
    there = mysql.replayed_by_mysql(executed)
    assert (there.places.get("aa") if there else None) == replayed


def test_mysql__replica_with_a_gap_has_not_reached_what_comes_after() -> None:
    token = mysql.written_by_mysql("aa:1-6", "aa")
    behind, there = (mysql.replayed_by_mysql(text) for text in ("aa:1-4:6", "aa:1-6:9,bb:1-2"))
    assert token is not None
    assert behind is not None
    assert there is not None
    assert (behind.reaches(token), there.reaches(token)) == (False, True)
