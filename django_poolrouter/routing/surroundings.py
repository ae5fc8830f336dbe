"""What a cluster needs of the process around it."""

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
    """Do nothing: stands where no callback is wanted."""


def none_in_use(alias: str) -> int:
    """Return 0: stands where the connections in use cannot be counted."""
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The servers, clocks and listeners of a cluster; a test brings its own."""

    in_use: Callable[[str], int] = none_in_use
    """Tells how many connections of an alias are leased, for the balancer "least_used"."""
    servers: Servers | None = None
    """The way to the servers; None if they cannot be asked."""
    tells_positions: bool = False
    """Whether the servers are of a kind that has positions."""
    first_turn: int = 0
    """The turn that the balancer starts with."""
    clock: Callable[[], float] = time.monotonic
    """Monotonic seconds."""
    wall_clock: Callable[[], float] = time.time
    """Seconds since the epoch, for times that other processes read."""
    on_change: OnChange = nothing
    """Called with a replica and False when it was ejected, and with True when it is back."""
    on_look: OnLook = nothing
    """Called with a replica, its state and its lag, each time it answered or failed to."""
