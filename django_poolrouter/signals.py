"""Django signals for what happens seldom and matters.

They are sent where it happens, in whatever thread, with no lock held; a receiver that
raises is logged by Django and disturbs nobody.  Receivers should be quick: somebody waits.
"""

from __future__ import annotations

from django.dispatch import Signal

pool_exhausted = Signal()
"""A caller got no connection, in time or at all.

Arguments: ``alias``; ``pool`` (the DatabasePool); ``error`` (PoolTimeout or PoolExhausted).
"""
connection_lost = Signal()
"""A connection was found dead, or was broken when it came back.

Arguments: ``alias``; ``pool``; ``backend``, the server's number of the session, or 0.
"""
replica_ejected = Signal()
"""A replica failed, and gets no reads until a probe finds it well.

Arguments: ``alias``; ``cluster``, its primary's alias.  Each process finds out by itself.
"""
replica_restored = Signal()
"""An ejected replica gets reads again.

Arguments: ``alias``; ``cluster``, its primary's alias.
"""


def tell_of_replica(cluster: str, alias: str, is_back: bool) -> None:
    """Send the signal of a replica that was ejected, or is back."""
    signal = replica_restored if is_back else replica_ejected
    signal.send_robust(None, alias=alias, cluster=cluster)
