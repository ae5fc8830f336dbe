"""Checks for django-health-check 4, and its view with the status of every pool.

``HealthCheckView.as_view(checks=[("django_poolrouter.contrib.health_check.PoolHealthCheck",
{"alias": "default"})])``: no app and no setting are needed.  See docs/health.md for which
check belongs into which probe.

The library runs checks in threads of its own, whose Django connections nobody closes, and
cannot stop one that hangs: so these work on the pools, not through django.db.connections,
and keep time themselves.
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
        monitor = PoolHealthMonitor(self.alias, timeout=self.timeout.total_seconds())
        health = monitor.check_health()
        if not health.healthy:
            raise _unavailable(f"{self.alias}: {health.error_message}")


@dataclasses.dataclass
class PoolPressureCheck(HealthCheck):
    """Warns before a pool runs full, in whatever process of this host; uses no connection.

    A warning is a failure to the library (HTTP 500), so this is for alerts and not for
    probes that restart or unplug what fails.

    Args:
        alias: of the database.
        max_used: share of size + overflow that may be in use, in the fullest process.

    """

    alias: str = "default"
    max_used: float = 0.9

    def run(self) -> None:  # type: ignore[override]
        """Check now.

        Raises:
            ServiceWarning: more than that is in use, or callers wait.
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
        alias: of the replica.
        max_lag: seconds.
        timeout: what the check may take, all in all.

    """

    alias: str
    max_lag: float = 10
    timeout: timedelta = dataclasses.field(default=timedelta(seconds=4), repr=False)

    def run(self) -> None:  # type: ignore[override]
        """Check now.

        Raises:
            ServiceWarning: it is further behind.
            ServiceUnavailable: it is no replica, or that cannot be found out.

        """
        pool = None
        try:
            pool = pools[self.alias]
            lag = measure_lag(self.alias, self.timeout.total_seconds() / 2)
        except Exception as error:
            raise _unavailable(describe(error, pool)) from error
        if lag is None:
            raise _unavailable(f"{self.alias}: the server does not tell its lag")
        if lag > self.max_lag:
            text = f"{self.alias}: {lag:.1f} s behind its primary, more than {self.max_lag:g} s"
            raise ServiceWarning(text)  # type: ignore[no-untyped-call]


class PoolHealthCheckView(HealthCheckView):
    """The library's view, whose JSON and HTML also tell the status of every pool.

    The JSON has it under "pools", as in the document of ``poolstatus --json``.
    """

    template_name = "poolrouter/health.html"

    async def get(  # type: ignore[override]  # as the library does
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Run the checks, and read what the processes of this host show."""
        self.report = await asyncio.get_running_loop().run_in_executor(None, collect)
        get: Any = super().get
        response: HttpResponse = await get(request, *args, **kwargs)
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the pools to what the page shows."""
        context: Any = super().get_context_data
        return {**context(**kwargs), "report": document(self.report)}

    def render_to_response_json(self, status: int) -> JsonResponse:
        """Add the pools to what the library says."""
        results = {repr(r.check): str(r.error) if r.error else "OK" for r in self.results}
        return JsonResponse({**results, "pools": document(self.report)["pools"]}, status=status)


def _statuses(alias: str) -> list[tuple[str, PoolStatus]]:
    """Return the pool of each process; this one's where processes show nothing."""
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
