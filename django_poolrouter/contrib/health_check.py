"""A check for django-health-check 4, that tells whether a pool is able to work.

Use it as ``HealthCheckView.as_view(checks=[("django_poolrouter.contrib.health_check.
PoolHealthCheck", {"alias": "default"})])``; no app and no setting are needed.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from ..health import PoolHealthMonitor


@dataclasses.dataclass
class PoolHealthCheck(HealthCheck):
    """Borrows a connection of a pool and asks the server for a sign of life.

    Args:
        alias: of the database.
        timeout: what the check may take, all in all.

    """

    alias: str = "default"
    # Not part of what tells one check's result from another's.
    timeout: timedelta = dataclasses.field(default=timedelta(seconds=2), repr=False)

    def run(self) -> None:  # type: ignore[override]  # the library takes both kinds
        """Check now.

        Raises:
            ServiceUnavailable: the alias is not configured, no connection came free in
                time, or the server did not answer.

        """
        # The library runs this in a thread of its own, whose Django connections nobody
        # closes: so straight from the pool, not through django.db.connections.
        monitor = PoolHealthMonitor(self.alias, timeout=self.timeout.total_seconds())
        health = monitor.check_health()
        if not health.healthy:
            text = f"{self.alias}: {health.error_message}"
            raise ServiceUnavailable(text)  # type: ignore[no-untyped-call]
