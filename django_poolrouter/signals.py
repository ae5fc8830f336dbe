"""Django signals for rare but important events.

A signal is sent in the thread where the event happens, with no lock held.  If a receiver
raises, Django logs the error and everything else goes on.  Receivers should be quick, because
a caller waits for them.
"""

from __future__ import annotations

from django.dispatch import Signal

pool_exhausted = Signal()
"""A caller got no connection in time, or was refused.

Arguments: ``alias``; ``pool`` (the DatabasePool); ``error`` (PoolTimeout or PoolExhausted).
"""
connection_lost = Signal()
"""A connection was found dead, or was broken at checkin.

Arguments: ``alias``; ``pool``; ``backend``, the server's number for the session, or 0.
"""
replica_ejected = Signal()
"""A replica failed, and gets no reads until a probe succeeds.

Arguments: ``alias``; ``cluster``, its primary's alias.  Each process ejects replicas separately.
"""
replica_restored = Signal()
"""An ejected replica gets reads again.

Arguments: ``alias``; ``cluster``, its primary's alias.
"""


def tell_of_replica(cluster: str, alias: str, is_back: bool) -> None:
    """Send the signal for a replica that was ejected or restored."""
    signal = replica_restored if is_back else replica_ejected
    signal.send_robust(None, alias=alias, cluster=cluster)
