"""What asks servers ends in time, whatever they do: here they fall silent between two words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connections

from django_poolrouter import PoolHealthMonitor, pools
from django_poolrouter.backends.wrapper.demotion import clear_if_demoted
from django_poolrouter.contrib.health_check import PoolHealthCheck, ReplicaLagCheck
from django_poolrouter.status.inspection.servers import inspect
from django_poolrouter.status.inspection.sessions import with_sessions
from django_poolrouter.status.report import ProcessPool, ProcessReport, Report
from tests.conftest import Vendor, over_tls_too
from tests.support.waiting import eventually

SHORT = timedelta(seconds=0.3)


class Fickle:
    """Databases behind a proxy that stops to forward when a certain question is asked."""

    def __init__(
        self,
        server: Vendor,
        proxy: Any,
        use_databases: Callable[..., None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.proxy = proxy
        self._monkeypatch = monkeypatch
        # Longer than a question may take: else the driver's limit may be the first to pass.
        pool = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 5}
        behind = server.database(pool, PORT=str(proxy.port))
        use_databases(
            {"default": behind, "replica": {**behind, "ROUTER": {"REPLICA_OF": "default"}}}
        )
        self._driver: Any = type(pools["default"].connector._driver)  # type: ignore[union-attr]

    def fall_silent_at(self, verb: str, owner: Any = None) -> None:
        """From the next call of a verb of the driver, or of another class, on."""
        owner = owner or self._driver
        real = getattr(owner, verb)

        def frozen(*arguments: Any) -> Any:
            self.proxy.mode = "blackhole"
            return real(*arguments)

        self._monkeypatch.setattr(owner, verb, frozen)


@pytest.fixture
def fickle(
    server: Vendor,
    use_databases: Callable[..., None],
    fault_proxy: Callable[[int], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Fickle:
    proxy = fault_proxy(int(server.settings["PORT"]))
    return Fickle(server, proxy, use_databases, monkeypatch)


def askers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "poolrouter-asks" in thread.name]


def report_of(alias: str) -> Report:
    """Return what a process would show that has opened the pool."""
    pool = ProcessPool(alias, "vendor", "profile", pools[alias].status())
    process = ProcessReport(4711, "command", "long ago", (pool,))
    return Report(datetime.now(UTC), 0.0, "host", (), (process,))


def failure(check: Any) -> str | None:
    """Run a check as the library does, in a thread of an executor; return what it says."""

    async def run() -> Any:
        with ThreadPoolExecutor(1) as executor:
            return await check.get_result(executor)

    result = asyncio.run(run())
    return result.error and str(result.error.message)


@over_tls_too
def test_poolcheck__tells_of_a_server_that_falls_silent_after_the_ping(fickle: Fickle) -> None:
    fickle.fall_silent_at("inspect")
    [found] = inspect("default")
    assert not found.healthy
    assert str(found.error).startswith("no answer within")
    assert found.server == ""
    # The proxy is silent still: nothing waits for it any more, and the connection is gone.
    eventually(lambda: not askers())
    assert pools["default"].status().open == 0


def test_lag__of_a_server_that_falls_silent_is_a_failure_in_time(fickle: Fickle) -> None:
    fickle.fall_silent_at("inspect")
    told = failure(ReplicaLagCheck("replica", timeout=SHORT))
    assert "cannot ask 'default': no answer within" in str(told), "the primary is asked first"
    eventually(lambda: not askers())
    assert pools["replica"].status().open == 0


def test_server__that_falls_silent_is_a_line_and_the_report_is_shown(fickle: Fickle) -> None:
    fickle.fall_silent_at("sessions")
    report = with_sessions(report_of("default"))
    [warning] = report.warnings
    assert warning.startswith("cannot ask the server of 'default': no answer within")
    assert len(report.processes) == 1
    eventually(lambda: not askers())


def test_server__that_accepts_and_says_nothing_is_a_line_in_time(fickle: Fickle) -> None:
    fickle.proxy.mode = "blackhole"
    report = with_sessions(report_of("default"))
    assert report.warnings == ("cannot ask the server of 'default': no answer within 2 s",)
    fickle.proxy.drop()
    eventually(lambda: not askers())


def test_demotion__is_not_looked_for_without_end(fickle: Fickle) -> None:
    pool = pools["default"]
    lease = pool.checkout()
    fickle.fall_silent_at("inspect")
    clear_if_demoted(connections["default"], lease)  # type: ignore[arg-type]
    lease.pool.checkin(lease)
    assert pool.status().open == 0


# -- one question at a time -----------------------------------------------------------------


def test_probes__of_a_database_that_hangs_pile_up_nothing(fickle: Fickle) -> None:
    fickle.proxy.mode = "blackhole"
    for _ in range(6):
        assert failure(PoolHealthCheck("default", SHORT)) == "default: no answer within 0.3 s"
    assert not PoolHealthMonitor("default", 0.1).is_healthy()
    assert len(askers()) == 1
    assert fickle.proxy.accepted == 1
    fickle.proxy.mode = "pass"
    fickle.proxy.drop()
    eventually(lambda: not askers())
    assert failure(PoolHealthCheck("default")) is None


def test_connect__that_hangs_while_it_sets_up_its_session_comes_to_an_end(
    fickle: Fickle,
) -> None:
    fickle.fall_silent_at("init_connection_state", connections["default"].__class__)
    with pytest.raises(OperationalError, match="no answer within 5 s"):
        pools["default"].checkout()
    assert pools["default"].status().open == 0


def test_probes__at_the_same_time_are_all_answered(fickle: Fickle) -> None:
    with ThreadPoolExecutor(8) as executor:
        told = list(executor.map(lambda _: PoolHealthMonitor("default").is_healthy(), range(16)))
    assert all(told)
    assert pools["default"].status().connects == 1
