"""A position is a place in the replication log of a server, of any vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

# A cookie carries a position, so it must stay short.
MAX_STREAMS = 8


@dataclass(frozen=True, slots=True)
class Position:
    """How far a server's log goes: one number for each stream of the log.

    PostgreSQL has one stream, and its number is the LSN.  MariaDB has one for each
    replication domain, MySQL one for each server that wrote.  Within one epoch the numbers only
    grow.  A promotion begins a new epoch.
    """

    epoch: str
    """The name of the log's history; positions of two epochs cannot be compared."""
    places: Mapping[str, int]
    age: float | None = field(default=None, compare=False)
    """Seconds since the server replayed its last transaction, if it is a replica and says so.

    If the replica lacks something, its lag is at most that.
    """

    def __post_init__(self) -> None:
        if not self.places:
            raise ValueError("a position without any stream would be reached by every server")

    def reaches(self, other: Position) -> bool:
        """Tell whether a server at this position has all writes up to the other position."""
        if self.epoch != other.epoch:
            return False
        return all(self.places.get(stream, -1) >= place for stream, place in other.places.items())

    def __str__(self) -> str:
        places = ",".join(f"{stream}={place}" for stream, place in self.places.items())
        return f"{self.epoch}/{places}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the position whose ``str`` is the text; raise ValueError if there is none."""
        epoch, slash, places = text.partition("/")
        pairs = [pair.partition("=") for pair in places.split(",")]
        wrong = not all(place.isascii() and place.isdigit() for _, _, place in pairs)
        if not slash or wrong or len(pairs) > MAX_STREAMS:
            raise ValueError(f"not a position: {text!r}")
        return cls(epoch, {stream: int(place) for stream, _, place in pairs})
