"""Whether the leases of a pool are marked, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from ...pooling import PoolConfig, PoolStatus
from ...sql.marks import MARKS

# Fewer checkouts than this are too few to judge by.
ENOUGH = 20
# From this share on, nearly each lease is marked.
MOST = 0.9


def advise_on_marks(
    status: PoolStatus | None, config: PoolConfig, *, tells_session: bool
) -> Iterator[str]:
    """Yield advice on session state, a sentence or two each.

    Args:
        status: the figures of all processes; None if there are none.
        config: the pool's options.
        tells_session: whether the backend knows what statements leave in a session.

    """
    if config.reset != "auto":
        return
    if not tells_session:
        yield (
            'reset "auto" only rolls back here, because this backend does not tell what a '
            'statement leaves in the session; use reset "session" if your code changes the session'
        )
    elif status and status.checkouts >= ENOUGH and status.marked >= MOST * status.checkouts:
        counts = sorted(zip(status.marks, MARKS, strict=True), reverse=True)
        told = ", ".join(f"{kind} {count}" for count, kind in counts if count)
        yield (
            f"{status.marked} of {status.checkouts} leases were marked ({told}), so nearly each "
            "checkin clears the session; send what is always the same from the pool option "
            '"configure", and set what depends on the user for one transaction'
        )
