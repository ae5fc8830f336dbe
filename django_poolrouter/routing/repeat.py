"""What to do with a read that failed on a replica: a decision, made of facts alone."""

from __future__ import annotations

from enum import Enum
from typing import Literal

Fault = Literal["lost", "conflict"]
"""What a failed statement says of its server: "lost" if the connection is gone, "conflict" if
replication cancelled the statement."""


class NextStep(Enum):
    """What follows a read that failed."""

    RAISE = "the caller gets the error"
    LEAVE = "the caller gets the error, and the connection goes back; the replica stays in service"
    MOVE = "another server gets the read"
    EJECT_AND_MOVE = "another server gets the read, and the replica is out of service"


def after_failure(
    fault: Fault | None, *, on_primary: bool, was_sent: bool, is_repeated: bool
) -> NextStep:
    """Return what follows a read that failed.

    A read that could not be sent goes to the next server, however many there are.  Once it
    was sent and failed, it is sent once more and no further: a read that broke two connections
    may be crashing the servers itself.  It gets no third server, least of all the primary, and the
    second one stays in service unless the monitor, with its harmless question, finds it broken.

    Args:
        fault: what the failure says of the server; None if it says nothing.
        on_primary: it failed on the primary, which has no stand-in.
        was_sent: there was a connection to send it on.
        is_repeated: it was sent and failed before.

    """
    if on_primary or (was_sent and fault is None):
        return NextStep.RAISE
    is_last = was_sent and is_repeated
    if was_sent and fault == "conflict":
        return NextStep.RAISE if is_last else NextStep.MOVE
    return NextStep.LEAVE if is_last else NextStep.EJECT_AND_MOVE
