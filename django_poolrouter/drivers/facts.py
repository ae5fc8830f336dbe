"""What a server says about itself, its limits and its sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..routing import Position


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on connections that a server sets."""

    name: str
    """The server's name for the limit."""
    connections: int
    shared_by: Literal["server", "account", "database"] = "server"
    """Whose connections count together."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says about itself; None where it does not say."""

    version: str
    identity: str | None = None
    """Equal for two aliases if, and only if, they are on the same server."""
    read_only: bool | None = None
    """Whether it refuses writes, as a replica should."""
    replicates: bool | None = None
    """Whether it follows another server."""
    position: Position | None = None
    """How far its replication log is written (primary) or replayed (replica)."""
    lag_s: float | None = None
    """Seconds behind its primary, if it knows."""
    replayed_age_s: float | None = None
    """Seconds since the last transaction that it replayed."""
    idle_limit_s: float | None = None
    """Seconds after which it closes idle connections; None for never."""
    limits: tuple[Limit, ...] = ()

    @property
    def role(self) -> str | None:
        """Its role: "primary" or "replica"; None if it does not say."""
        is_replica = self.read_only if self.replicates is None else self.replicates
        return None if is_replica is None else ("replica" if is_replica else "primary")


@dataclass(frozen=True, slots=True)
class ServerSession:
    """What a server says about one session at one moment."""

    state: str
    """"active", "idle", "idle in transaction", or another of the server's words."""
    state_age_s: float | None = None
    transaction_age_s: float | None = None
    """None outside a transaction, and where the server does not say."""
    waits_for: str | None = None
    query: str | None = None
    """The running statement, or the last one; None if this account may not see it."""
