"""A token cache as the password of a real server."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, connections
from django.db.utils import OperationalError

from django_poolrouter import pools
from django_poolrouter.contrib.tokens import TokenCache
from tests.conftest import Vendor


def use_twice() -> None:
    """Open two connections and reset both at checkin."""
    with pools["default"].connection():
        connection.ensure_connection()
        connection.close()


@pytest.mark.parametrize("reset", ["rollback", "session"])
@pytest.mark.parametrize("in_options", [False, True], ids=["PASSWORD", "OPTIONS"])
def test_token__serves_connects_and_resets_until_it_is_cleared(
    server: Vendor, use_databases: Any, reset: str, in_options: bool
) -> None:
    vault = [server.settings["PASSWORD"], "refused", server.settings["PASSWORD"]]
    cache = TokenCache(lambda: vault.pop(), 900)
    options = (
        {"OPTIONS": {"password": cache}, "PASSWORD": ""} if in_options else {"PASSWORD": cache}
    )
    use_databases({"default": server.database({"reset": reset, "pool_timeout": 0}, **options)})
    for _ in range(3):
        use_twice()
    assert len(vault) == 2
    assert pools["default"].status().connects == 2

    cache.clear()
    pools["default"].clear()
    with pytest.raises(OperationalError):
        connection.ensure_connection()
    cache.clear()
    use_twice()
    assert vault == []
    connections.close_all()
