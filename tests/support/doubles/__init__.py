"""Stand-ins for what a pool meets: a driver, a clock, servers, and callers in threads."""

from tests.support.doubles.clock import ManualClock
from tests.support.doubles.connector import (
    ConnectFailed,
    FakeConnection,
    FakeConnector,
    Gate,
    Killed,
)
from tests.support.doubles.servers import FakeServers
from tests.support.doubles.tasks import Task

__all__ = [
    "ConnectFailed",
    "FakeConnection",
    "FakeConnector",
    "FakeServers",
    "Gate",
    "Killed",
    "ManualClock",
    "Task",
]
