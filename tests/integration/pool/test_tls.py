"""Pools over TLS; faults and forks over it are in `test_faults`."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.utils import OperationalError

from django_poolrouter import pools
from tests.conftest import Vendor, over_tls

ENCRYPTED = {
    "postgresql": "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    "mariadb": (
        "SELECT variable_value FROM information_schema.session_status"
        " WHERE variable_name = 'Ssl_version'"
    ),
}
PLAIN = {"postgresql": {"sslmode": "disable", "sslrootcert": None}, "mariadb": {"ssl": None}}


@over_tls
@pytest.mark.parametrize("reset", ["rollback", "session"])
def test_connection__is_lent_again(server: Vendor, use_databases: Any, reset: str) -> None:
    use_databases({"default": server.database({"ping_after": 0, "reset": reset})})
    for _ in range(3):
        with connection.cursor() as cursor:
            cursor.execute(ENCRYPTED[server.name])
            assert cursor.fetchone()[0].startswith("TLSv1")
        connection.close()
    status = pools["default"].status()
    assert (status.connects, status.lost) == (1, 0)


@over_tls
def test_server__refuses_what_is_not_encrypted(server: Vendor, use_databases: Any) -> None:
    use_databases({"default": server.database(OPTIONS=PLAIN[server.name])})
    with pytest.raises(OperationalError):
        connection.ensure_connection()
