"""What goes wrong with every other pool for Django that we know, and does not here.

Each was seen to fail with Django's own pool, django-db-connection-pool, django-db-geventpool or
django-pg-real-pool.  What other tests prove already stands there:

- threads that end without close(), garbage collection off: `contract.test_backends`,
  test_thread_that_ends_without_close__gives_its_lease_back
- a transaction open at return, also by BEGIN, also failed: `contract.test_backends`,
  test_open_transaction__ and test_raw_begin__ and test_failed_transaction__does_not_survive_checkin
- a server restart, with and without connections cut: `test_faults`,
  test_server_restart__is_not_noticed_by_the_first_request
- settings, search_path, roles, advisory locks, LISTEN, temporary tables, prepared statements,
  cursors WITH HOLD: `test_reset`, test_session_reset_on_postgresql__clears
- attributes of the raw connection: `test_reset`, test_attribute_of_psycopg__is_restored
- a cursor used after close(), and a server-side one left open: `contract.test_cursors`,
  test_kept_cursor__raises_when_its_connection_is_lent_again and
  test_kept_chunked_cursor__is_closed_on_the_server_too
- `manage.py test --parallel` when the parent used the databases after they were cloned:
  `routing.test_test_runner`, test_tests_of_a_project__pass_and_leave_nothing_behind
- greenlets beyond the maximum, or stuck: `test_gevent`
- gunicorn --preload: `processes.test_sigterm`
- Django's own tests of backends and transactions: `make conformance`
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_poolrouter import pools
from tests.conftest import Vendor
from tests.support import programs
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
SESSION = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT CONNECTION_ID()"}
KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mariadb": "KILL {}"}
LIVE = {
    "postgresql": "SELECT pid FROM pg_stat_activity",
    "mariadb": "SELECT id FROM information_schema.processlist",
}


def query(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


# -- fork -----------------------------------------------------------------------------------

CHILDREN = """
import os, sys
import django
django.setup()
from django.db import connection
from tests.support.serving import work

work.leave_idle()
work.session()  # leased, besides
ready, go = os.pipe()
children = []
for number in range(1, 4):
    pid = os.fork()
    if pid:
        children.append(pid)
        continue
    os.close(go)
    os.read(ready, 1)  # until the parent lets go of the other end
    for _ in range(200):
        assert work.query(f"SELECT {number}") == number, "another child's row"
        connection.close()
    sys.exit(0)
os.close(go)
for _ in range(200):
    assert work.query("SELECT 0") == 0, "a child's row"
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""


def test_children_forked_with_an_open_pool__never_read_each_others_rows(
    server: Vendor, tmp_path: Path
) -> None:
    done = programs.run(
        ["-c", CHILDREN],
        cwd=ROOT,
        environment={
            "PYTHONWARNINGS": "error",
            "PATH": os.environ["PATH"],
            "POOLROUTER_RUNTIME_DIR": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": "tests.support.serving.settings",
            "DATABASES": json.dumps({"default": server.database()}),
        },
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 0, 0]\n", "")


# -- dead connections -----------------------------------------------------------------------


@pytest.mark.parametrize("pre_ping", [True, False])
def test_first_request_after_all_idle_connections_were_killed__succeeds(
    server: Vendor, use_databases: Any, request: pytest.FixtureRequest, pre_ping: bool
) -> None:
    cluster = request.getfixturevalue(server.name)
    use_databases({"default": server.database({"pool_size": 8, "pool_pre_ping": pre_ping})})
    pool = pools["default"]
    with ExitStack() as stack:
        killed = set()
        for _ in range(8):
            cursor = stack.enter_context(pool.connection()).cursor()
            cursor.execute(SESSION[server.name])
            killed.add(str(cursor.fetchone()[0]))
    for session in killed:
        cluster.sql("primary", KILL[server.name].format(session))
    eventually(lambda: not killed & {*cluster.sql("primary", LIVE[server.name]).split()})
    assert query("SELECT 1") == 1
    status = pool.status()
    assert (status.connects, status.open, status.waits) == (9, 1, 0)
