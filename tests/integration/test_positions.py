"""Questions for positions, on real servers."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from django_poolrouter import pools
from django_poolrouter.backends.driver import Deadline
from django_poolrouter.routing import ServerFailed
from django_poolrouter.servers import PooledServers
from tests.conftest import Vendor


@pytest.mark.parametrize("question", ["written", "replayed"])
def test_question__that_is_not_answered_in_time_leaves_the_thread_no_broken_connection(
    question: str, server: Vendor, use_databases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_databases({"default": server.database()})

    def late(*_: Any, **__: Any) -> None:
        raise TimeoutError("no answer within 1 s")

    connection.ensure_connection()
    with monkeypatch.context() as patched:
        patched.setattr(Deadline, "require", late)
        with (
            pytest.raises(ServerFailed, match="no answer"),
            PooledServers().log_of("default") as log,
        ):
            getattr(log, question)()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    assert pools["default"].status().lost == 1
