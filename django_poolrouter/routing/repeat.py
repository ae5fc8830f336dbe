"""Decides, from facts alone, what happens after a read failed on a replica."""

from __future__ import annotations

from enum import Enum
from typing import Literal

Fault = Literal["lost", "conflict"]
"""What a failed statement says about its server: "lost" if the connection is gone, "conflict" if
replication cancelled the statement."""


class NextStep(Enum):
    """What happens after a read failed."""

    RAISE = "the caller gets the error"
    LEAVE = "the caller gets the error, and the connection goes back; the replica stays in service"
    MOVE = "another server gets the read"
    EJECT_AND_MOVE = "another server gets the read, and the replica is out of service"


def after_failure(
    fault: Fault | None, *, on_primary: bool, was_sent: bool, is_repeated: bool
) -> NextStep:
    """Return what happens after a read failed.

    A read that could not be sent goes to the next server, until none is left.  A read that was
    sent and failed is sent once more.  If it fails again, it gets no third server, least of all
    the primary: a read that broke two connections may be crashing the servers itself.  For the
    same reason the second server stays in service, unless the monitor finds it broken with its
    harmless question.

    Args:
        fault: what the failure says about the server; None if it says nothing.
        on_primary: whether it failed on the primary, which no other server can replace.
        was_sent: whether there was a connection to send it on.
        is_repeated: whether it was sent and failed before.

    """
    if on_primary or (was_sent and fault is None):
        return NextStep.RAISE
    is_last = was_sent and is_repeated
    if was_sent and fault == "conflict":
        return NextStep.RAISE if is_last else NextStep.MOVE
    return NextStep.LEAVE if is_last else NextStep.EJECT_AND_MOVE
