"""What the ground floor asks of servers; how it is asked is known above."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from .positions import Position


class Log(Protocol):
    """The replication log of one server, over a connection that is there already."""

    def written(self) -> Position | None:
        """Return where the log of a primary ends; None if the server cannot tell.

        Raises:
            ServerFailed: it did not answer.

        """

    def replayed(self) -> Position | None:
        """Return up to where a replica shows what its primary wrote; None if it cannot tell.

        Raises:
            ServerFailed: it did not answer.

        """


class Servers(Protocol):
    """The way to the servers of a cluster."""

    def log_of(self, alias: str) -> AbstractContextManager[Log]:
        """Lend the log of the server of an alias.

        Raises:
            ServerFailed: no connection could be opened.
            NotAsked: none is free; that says nothing of the server.

        """


class ServerFailed(Exception):
    """A server refused a connection, or did not answer in time.

    Args:
        text: what happened.
        hangs: it kept us waiting, as a frozen one does.

    """

    def __init__(self, text: str, *, hangs: bool = False) -> None:
        super().__init__(text)
        self.hangs = hangs


class NotAsked(Exception):
    """There was no connection to ask by."""


class NoReplica(Exception):
    """No replica may be read, and the cluster's FALLBACK is "error"."""
