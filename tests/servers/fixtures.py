"""The servers as pytest fixtures: started on first use, once per session."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import pytest

from tests.servers import FaultProxy, MariadbCluster, PostgresqlCluster, ServersMissing
from tests.servers.cluster import Cluster
from tests.support.skips import NOT_TESTED, missing

C = TypeVar("C", bound=Cluster)
#: Tests that use such a fixture get such a marker, for `pytest -m "not mysql"`.
MARKERS = {
    "postgresql": "postgresql",
    "postgresql_tls": "postgresql",
    "mariadb": "mysql",
    "mariadb_tls": "mysql",
}


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlCluster]:
    """A primary with `replica1` and `replica2`; whoever breaks it mends it."""
    with started(PostgresqlCluster(replicas=2)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgresql_tls() -> Iterator[PostgresqlCluster]:
    """A primary to which the application connects over TLS; whoever breaks it mends it."""
    with started(PostgresqlCluster(replicas=0, tls=True)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbCluster]:
    """A primary with `replica1`; whoever breaks it mends it."""
    with started(MariadbCluster(replicas=1)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mariadb_tls() -> Iterator[MariadbCluster]:
    """A primary to which one connects over TLS; whoever breaks it mends it."""
    with started(MariadbCluster(replicas=0, tls=True)) as cluster:
        yield cluster


@pytest.fixture
def fault_proxy() -> Iterator[Callable[[int], FaultProxy]]:
    """Make proxies to ports; all are closed after the test."""
    with ExitStack() as stack:
        yield lambda port: stack.enter_context(FaultProxy(port))


@contextmanager
def started(cluster: C) -> Iterator[C]:
    """Run a block with servers; without their programs, skip the test or, in CI, fail it."""
    try:
        cluster.start()
    except ServersMissing as error:
        missing(str(error))
    try:
        yield cluster
    finally:
        cluster.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the servers that it uses."""
    for item in items:
        for fixture, marker in MARKERS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested: a line of dots that ends in green hides it."""
    reasons = (report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()))
    for reason in dict.fromkeys(reasons):
        if NOT_TESTED in reason:
            text = reason.removeprefix("Skipped: ")
            terminalreporter.write_line(text, red=True, bold=True)
