"""The connection pool, which needs neither Django nor a driver.

Every room except ``routing``, ``sql`` and ``validation`` may import this one.
"""

from .config import PoolConfig, PoolProfile
from .connector import Connector
from .counters import Page, PoolStatus
from .entry import Lease
from .errors import NoReset, PoolClosed, PoolError, PoolExhausted, PoolTimeout
from .housekeeping import Housekeeper
from .pool import Pool

__all__ = [
    "Connector",
    "Housekeeper",
    "Lease",
    "NoReset",
    "Page",
    "Pool",
    "PoolClosed",
    "PoolConfig",
    "PoolError",
    "PoolExhausted",
    "PoolProfile",
    "PoolStatus",
    "PoolTimeout",
]
