"""What routing asks servers about their replication logs.  Higher layers implement it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from .positions import Position


class Log(Protocol):
    """The replication log of one server, read over a connection that is already open."""

    def written(self) -> Position | None:
        """Return where the log of a primary ends; None if the server cannot tell.

        Raises:
            ServerFailed: the server did not answer.

        """

    def replayed(self) -> Position | None:
        """Return the position that a replica has reached; None if the server cannot tell.

        Reads on the replica see all writes up to this position.

        Raises:
            ServerFailed: the server did not answer.

        """


class Servers(Protocol):
    """Gives access to the servers of a cluster."""

    def log_of(self, alias: str) -> AbstractContextManager[Log]:
        """Lend the replication log of the server of an alias.

        Raises:
            ServerFailed: no connection could be opened.
            NotAsked: no connection is free, which says nothing about the server.

        """


class ServerFailed(Exception):
    """A server refused a connection, or did not answer in time.

    Args:
        text: what happened.
        hangs: True if it kept the caller waiting, as a frozen server does.

    """

    def __init__(self, text: str, *, hangs: bool = False) -> None:
        super().__init__(text)
        self.hangs = hangs


class NotAsked(Exception):
    """The server was not asked, because no connection was free."""


class NoReplica(Exception):
    """No replica may be read, and the cluster's FALLBACK is "error"."""
