"""The statements of corpus.tsv."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Known(NamedTuple):
    """A statement and what it does, looked up by a person."""

    vendor: str
    effect: str  # "W" for a write, else "R"
    mark: str
    sql: str


def known_statements() -> list[Known]:
    lines = Path(__file__).with_name("corpus.tsv").read_text().splitlines()
    return [Known(*line.split("\t", 3)) for line in lines if not line.startswith("# ")]
