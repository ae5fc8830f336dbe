"""What a server says of itself, of its limits and of its sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..routing import Position


@dataclass(frozen=True, slots=True)
class Limit:
    """A number of connections that a server allows."""

    name: str
    """What sets it, in the server's words."""
    connections: int
    shared_by: Literal["server", "account", "database"] = "server"
    """Whose connections count together."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself; None where it does not say."""

    version: str
    identity: str | None = None
    """The same for two aliases if, and only if, they are on one server."""
    read_only: bool | None = None
    """Whether it refuses writes, as a replica should."""
    replicates: bool | None = None
    """Whether it follows another server."""
    position: Position | None = None
    """How far its replication log is written (primary) or replayed (replica)."""
    lag_s: float | None = None
    """Seconds behind its primary, if it knows them."""
    replayed_age_s: float | None = None
    """Seconds since the last transaction that it replayed."""
    idle_limit_s: float | None = None
    """It closes connections that rest so long; None for never."""
    limits: tuple[Limit, ...] = ()

    @property
    def role(self) -> str | None:
        """What it is: "primary" or "replica"."""
        is_replica = self.read_only if self.replicates is None else self.replicates
        return None if is_replica is None else ("replica" if is_replica else "primary")


@dataclass(frozen=True, slots=True)
class ServerSession:
    """What a server says of one session, now."""

    state: str
    """"active", "idle", "idle in transaction", or another word of the server's."""
    state_age_s: float | None = None
    transaction_age_s: float | None = None
    """None outside a transaction, and where the server does not say."""
    waits_for: str | None = None
    query: str | None = None
    """The running statement, or the last one; None if this account may not see it."""
