"""The answer of the router."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self


class Chosen(str):
    """The alias of a replica that the router chose.

    Code that has it asked the router where to read.  Code that has a plain ``"replica1"`` named
    the replica.  A pickle holds a plain alias, because its reader asked no router.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class Decision:
    """Which alias a query goes to, and why."""

    alias: str
    reason: str
