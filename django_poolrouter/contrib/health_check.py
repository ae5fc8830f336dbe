"""Checks for django-health-check 4, and its view with the status of every pool.

Use them as ``HealthCheckView.as_view(checks=[
("django_poolrouter.contrib.health_check.PoolHealthCheck", {"alias": "default"})])``.  They need
no app and no setting.  docs/health.md says which check belongs in which probe.

The library runs checks in its own threads.  It does not close the Django connections of these
threads, and it cannot stop a check that hangs.  So these checks use the pools instead of
``django.db.connections``, and have time limits of their own.
"""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable, ServiceWarning
from health_check.views import HealthCheckView

from ..pooling import PoolStatus
from ..process.database_pool import describe
from ..process.health import PoolHealthMonitor
from ..process.mappings import pools
from ..status.document import document
from ..status.inspection.servers import measure_lag
from ..status.report import collect


@dataclasses.dataclass
class PoolHealthCheck(HealthCheck):
    """Takes a connection from a pool and pings the server.

    Args:
        alias: the alias of the database.
        timeout: how long the whole check may take.

    """

    alias: str = "default"
    # Not in repr(), which the library uses as the name of a check's result.
    timeout: timedelta = dataclasses.field(default=timedelta(seconds=2), repr=False)

    def run(self) -> None:  # type: ignore[override]  # the library takes sync and async checks
        """Run the check.

        Raises:
            ServiceUnavailable: the alias is not configured, no connection became free in
                time, or the server did not answer.

        """
        monitor = PoolHealthMonitor(self.alias, timeout=self.timeout.total_seconds())
        health = monitor.check_health()
        if not health.healthy:
            raise _unavailable(f"{self.alias}: {health.error_message}")


@dataclasses.dataclass
class PoolPressureCheck(HealthCheck):
    """Warns before a pool is full in any process of this host.  It uses no connection.

    For the library, a warning is a failure (HTTP 500).  So use this check for alerts, and not
    for probes that restart a process or take it out of service.

    Args:
        alias: the alias of the database.
        max_used: the share of size + overflow that may be in use in the fullest process.

    """

    alias: str = "default"
    max_used: float = 0.9

    def run(self) -> None:  # type: ignore[override]
        """Run the check.

        Raises:
            ServiceWarning: more than ``max_used`` is in use, or callers wait.
            ServiceUnavailable: the alias is not configured.

        """
        for name, status in _statuses(self.alias):
            if status.waiting or status.checkedout > self.max_used * status.max:
                text = (
                    f"{self.alias}: {status.checkedout} of {status.max} connections in use, "
                    f"{status.waiting} callers wait{name}"
                )
                raise ServiceWarning(text)  # type: ignore[no-untyped-call]


@dataclasses.dataclass
class ReplicaLagCheck(HealthCheck):
    """Asks a replica and its primary how far the replica is behind.

    Args:
        alias: the alias of the replica.
        max_lag: the longest lag that passes, in seconds.
        timeout: how long the whole check may take.

    """

    alias: str
    max_lag: float = 10
    timeout: timedelta = dataclasses.field(default=timedelta(seconds=4), repr=False)

    def run(self) -> None:  # type: ignore[override]
        """Run the check.

        Raises:
            ServiceWarning: the replica lags more than ``max_lag``.
            ServiceUnavailable: the alias is not a replica, or its lag cannot be found out.

        """
        pool = None
        try:
            pool = pools[self.alias]
            lag = measure_lag(self.alias, self.timeout.total_seconds() / 2)
        except Exception as error:
            raise _unavailable(describe(error, pool)) from error
        if lag is None:
            raise _unavailable(f"{self.alias}: the server does not report its lag")
        if lag > self.max_lag:
            text = f"{self.alias}: {lag:.1f} s behind its primary, more than {self.max_lag:g} s"
            raise ServiceWarning(text)  # type: ignore[no-untyped-call]


class PoolHealthCheckView(HealthCheckView):
    """The library's view, with the status of every pool added to its JSON and HTML.

    The JSON has the pools under "pools", as in the document of ``poolstatus --json``.
    """

    template_name = "poolrouter/health.html"

    async def get(  # type: ignore[override]  # as the library does
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Run the checks, and read the pool status of this host's processes."""
        self.report = await asyncio.get_running_loop().run_in_executor(None, collect)
        get: Any = super().get
        response: HttpResponse = await get(request, *args, **kwargs)
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the pools to the context of the HTML page."""
        context: Any = super().get_context_data
        return {**context(**kwargs), "report": document(self.report)}

    def render_to_response_json(self, status: int) -> JsonResponse:
        """Add the pools to the results of the checks."""
        results = {repr(r.check): str(r.error) if r.error else "OK" for r in self.results}
        return JsonResponse({**results, "pools": document(self.report)["pools"]}, status=status)


def _statuses(alias: str) -> list[tuple[str, PoolStatus]]:
    """Return the pool's status in each process, or in this one if no process shows any."""
    try:
        own = pools[alias]
    except KeyError as error:
        raise _unavailable(describe(error, None)) from error
    return [
        (f" in process {process.pid}", pool.status)
        for process in collect(alias).processes
        for pool in process.pools
    ] or [("", own.status())]


def _unavailable(text: str) -> ServiceUnavailable:
    return ServiceUnavailable(text)  # type: ignore[no-untyped-call]
