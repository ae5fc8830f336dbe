"""What a cluster needs from the process that it is in."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .logs import Servers

State = Literal["up", "lagging", "ejected", "drained"]
OnChange = Callable[[str, bool], object]
OnLook = Callable[[str, State, float | None], object]


def nothing(*args: object) -> None:
    """Do nothing; the default where no callback is wanted."""


def none_in_use(alias: str) -> int:
    """Return 0; the default where connections in use cannot be counted."""
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The servers, clocks and listeners of a cluster; tests pass their own."""

    in_use: Callable[[str], int] = none_in_use
    """Returns how many connections of an alias are leased, for the balancer "least_used"."""
    servers: Servers | None = None
    """Gives access to the servers; None if they cannot be asked."""
    tells_positions: bool = False
    """Whether servers of this vendor report positions."""
    first_turn: int = 0
    """The turn that the balancer starts with."""
    clock: Callable[[], float] = time.monotonic
    """Returns monotonic seconds."""
    wall_clock: Callable[[], float] = time.time
    """Returns the Unix time in seconds, for times that other processes read."""
    on_change: OnChange = nothing
    """Called with a replica's alias, and False when it is ejected or True when it is back."""
    on_look: OnLook = nothing
    """Called with a replica's alias, state and lag, each time that it answers or fails."""
