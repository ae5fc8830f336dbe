"""A thousand statements, each with what it does: corpus.tsv."""

from __future__ import annotations

import pytest

from django_poolrouter.sql.kinds import Kind, classify

from .corpus import Known, known_statements


def told(kind: Kind) -> tuple[str, str]:
    mark = kind.mark
    name = "-" if mark is None else f"{mark.kind}:{mark.setting}".rstrip(":")
    return "W" if kind.is_write else "R", name


@pytest.mark.parametrize(
    "vendor", ["postgresql", "mysql", "sqlite", "oracle", "microsoft", "other"]
)
def test_each_statement_of_the_corpus__is_classified_as_it_was_looked_up(vendor: str) -> None:
    rows = [row for row in known_statements() if row.vendor == vendor]
    wrong = [row for row in rows if told(classify(row.sql, vendor)) != (row.effect, row.mark)]
    assert rows
    assert wrong == []


def test_corpus__has_a_thousand_statements_and_each_only_once() -> None:
    rows = known_statements()
    assert len({(row.vendor, row.sql) for row in rows}) == len(rows) > 1_000


def is_question(row: Known) -> bool:
    return row.effect == "R" and row.mark == "-" and row.sql.startswith(("SELECT", "(SELECT"))


def test_select_without_a_mark__can_be_answered_by_another_server() -> None:
    rows = list(filter(is_question, known_statements()))
    assert len(rows) > 250
    assert [row for row in rows if not classify(row.sql, row.vendor).is_query] == []


def test_write_or_marked_statement__is_no_query() -> None:
    rows = [row for row in known_statements() if row.effect == "W" or row.mark != "-"]
    assert [row for row in rows if classify(row.sql, row.vendor).is_query] == []


@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_case__makes_no_difference(change: object) -> None:
    rows = [row for row in known_statements() if "%(" not in row.sql]
    assert callable(change)
    assert [
        row
        for row in rows
        if told(classify(change(row.sql).replace("%S", "%s"), row.vendor)) != (row.effect, row.mark)
    ] == []


def test_bytes__are_classified_as_text() -> None:
    rows = known_statements()
    assert [
        row
        for row in rows
        if classify(row.sql.encode(), row.vendor) != classify(row.sql, row.vendor)
    ] == []
