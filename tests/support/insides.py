"""A pool's private state, which some tests look at: its name stands here and nowhere else."""

from __future__ import annotations

from django_poolrouter.pooling import Pool
from django_poolrouter.pooling.grants import PoolState


def state_of(pool: Pool) -> PoolState:
    """Return what a pool guards with its lock."""
    return pool._state
