"""Notices that the primary's server has become a replica.

After a failover, sessions on the old primary stay open.  They answer every ping and refuse
every write.  Only a new connection finds the new primary behind a name or a list of hosts.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db.utils import DatabaseErrorWrapper

from ...process.registry import registry
from ...process.replication_logs import ANSWER

if TYPE_CHECKING:
    from ...pooling import Lease
    from .state import WrapperState

logger = logging.getLogger("django_poolrouter.pool")


class ErrorWatch(DatabaseErrorWrapper):
    """Translates the driver's errors as Django does, and notes those that refuse a write."""

    wrapper: WrapperState

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if exc_type is None:
            return
        if self.wrapper.driver_class.refused_write(exc_value):
            self.wrapper.was_refused = True
        super().__exit__(exc_type, exc_value, traceback)


def clear_if_demoted(wrapper: WrapperState, lease: Lease) -> None:
    """Clear the lease's pool if its server is read-only, although the alias is no replica.

    The refused write alone proves nothing: code may have made its own session read-only.  So
    this asks the server, once for each lease on which a write was refused.  It never raises.
    """
    try:
        driver = wrapper.driver_class()
        if registry.topology.role(wrapper.alias) == "replica":
            return
        driver.rollback(lease.connection)
        with driver.time_limit(lease.connection, ANSWER):
            facts = driver.inspect(lease.connection)
        # If another thread cleared the pool first, its newer connections may be good.
        if not facts.read_only or lease.is_cleared:
            return
    except Exception:  # if the connection is broken, the checkin will notice
        logger.debug(
            "pool %s: could not ask the server whether it is read-only",
            lease.pool.name,
            exc_info=True,
        )
        return
    logger.warning(
        "pool %s: the server has become read-only; all connections are replaced", lease.pool.name
    )
    lease.pool.clear()
