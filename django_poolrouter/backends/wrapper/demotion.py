"""Notices that what was the primary is a replica now.

After a failover its sessions live on, answer each ping and refuse each write, and only a
new connection finds the new primary behind a name or a list of hosts.
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
    """Django's translation of the driver's errors, which shows them to the backend first."""

    wrapper: WrapperState

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if exc_type is None:
            return
        if self.wrapper.driver_class.refused_write(exc_value):
            self.wrapper.was_refused = True
        super().__exit__(exc_type, exc_value, traceback)


def clear_if_demoted(wrapper: WrapperState, lease: Lease) -> None:
    """Clear the lease's pool if its server takes no writes, although it is to be a primary.

    A session may be read-only by its own wish, and a replica always is: so the server is
    asked, once for each lease on which it refused.  Never raises.
    """
    try:
        driver = wrapper.driver_class()
        if registry.topology.role(wrapper.alias) == "replica":
            return
        driver.rollback(lease.connection)
        # Whoever found out before has cleared, and what was opened since may be sound.
        with driver.time_limit(lease.connection, ANSWER):
            facts = driver.inspect(lease.connection)
        if not facts.read_only or lease.is_cleared:
            return
    except Exception:  # whatever it is, the checkin will see it
        logger.debug("pool %s: no answer to who it is", lease.pool.name, exc_info=True)
        return
    logger.warning(
        "pool %s: the server has become read-only; all connections are replaced", lease.pool.name
    )
    lease.pool.clear()
