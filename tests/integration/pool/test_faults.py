"""Servers and networks that fail, and what users of a pooled backend get then."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import MySQLdb.cursors
import psycopg
import pytest
from django.db import connection, connections, transaction
from django.db.utils import DatabaseError, InterfaceError, OperationalError
from MySQLdb.connections import Connection

from django_poolrouter import PoolTimeout, pools
from tests.conftest import Vendor, over_tls_too
from tests.servers import FaultProxy
from tests.support import programs
from tests.support.doubles import Task
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
OWN_ID = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT CONNECTION_ID()"}
ONE = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0}
KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mariadb": "KILL {}"}
COUNT = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = 'contract'",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = 'contract'",
}


def query(sql: str, using: str = "default") -> Any:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


def status() -> Any:
    return pools["default"].status()


def fill(number: int) -> None:
    """Have so many idle connections."""
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(pools["default"].connection())
    assert status().checkedin == number


class Server:
    """A server with a pool of connections to it, perhaps through a proxy."""

    def __init__(self, vendor: Vendor, cluster: Any) -> None:
        self.vendor = vendor
        self.cluster = cluster
        self.own_id = OWN_ID[vendor.name]

    def sql(self, statement: str) -> str:
        """Run something as superuser, on a connection of its own."""
        return str(self.cluster.sql("primary", statement))

    def kill(self, session: int) -> None:
        self.sql(KILL[self.vendor.name].format(session))
        eventually(lambda: session not in self.sessions())

    def sessions(self) -> list[int]:
        """Return the ids of all sessions on the database."""
        column = {"postgresql": "pid", "mariadb": "id"}[self.vendor.name]
        rows = self.sql(COUNT[self.vendor.name].replace("count(*)", column))
        return [int(row) for row in rows.split()]

    def count(self) -> Callable[[], int]:
        """Return a function that counts the sessions on the database, fast."""
        settings = self.vendor.settings
        if self.vendor.name == "postgresql":
            raw: Any = psycopg.connect(
                host="127.0.0.1", port=settings["PORT"], user="postgres", autocommit=True
            )
        else:
            raw = MySQLdb.connect(
                host="127.0.0.1",
                port=int(settings["PORT"]),
                user=settings["USER"],
                password=settings["PASSWORD"],
            )
        self.observer = closing(raw)

        def count() -> int:
            cursor = raw.cursor()
            cursor.execute(COUNT[self.vendor.name])
            return int(cursor.fetchone()[0])

        return count


@pytest.fixture
def on(server: Vendor, request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server(server, request.getfixturevalue(server.cluster))
    yield made
    if hasattr(made, "observer"):
        made.observer.__exit__()


@pytest.fixture
def use_pool(server: Vendor, use_databases: Any) -> Callable[..., None]:
    """Point Django at the server, with these options of the pool."""
    return lambda **options: use_databases({"default": server.database(options)})


@pytest.fixture
def proxy(server: Vendor, fault_proxy: Callable[[int], FaultProxy]) -> FaultProxy:
    return fault_proxy(int(server.settings["PORT"]))


@pytest.fixture
def use_proxy(server: Vendor, proxy: FaultProxy, use_databases: Any) -> Callable[..., None]:
    """Point Django at the proxy before the server."""
    return lambda **options: use_databases(
        {"default": server.database(options, PORT=str(proxy.port))}
    )


@pytest.fixture
def use_postgresql(postgresql_database: dict[str, str], use_databases: Any) -> Any:
    vendor = Vendor("postgresql", {**postgresql_database, "TIME_ZONE": "Europe/Lisbon"})
    return lambda **options: use_databases({"default": vendor.database(options)})


# -- no connection to be had ----------------------------------------------------------------


def test_server_down__is_said_at_once(use_proxy: Any, proxy: FaultProxy) -> None:
    use_proxy(pool_size=1, max_overflow=0)
    proxy.mode = "refuse"
    for _ in range(3):
        with pytest.raises(OperationalError) as caught:
            query("SELECT 1")
        assert not isinstance(caught.value, PoolTimeout)
    assert (status().connect_errors, status().open) == (3, 0)
    proxy.mode = "pass"
    assert query("SELECT 1") == 1


@pytest.mark.slow
def test_blackholed_connect__is_bounded_by_the_pools_timeout(
    use_proxy: Any, proxy: FaultProxy
) -> None:
    use_proxy(pool_size=1, max_overflow=0, pool_timeout=0.2)
    proxy.mode = "blackhole"

    def attempt() -> None:
        try:
            query("SELECT 1")
        finally:
            connection.close()

    # The drivers' shortest is 2 s; LIMIT of the task is the ceiling.
    assert isinstance(Task(attempt).error(), OperationalError)
    assert (status().connect_errors, status().opening) == (1, 0)
    proxy.mode = "pass"
    assert query("SELECT 1") == 1


def test_wrong_password__shows_no_password(server: Vendor, use_databases: Any) -> None:
    use_databases({"default": server.database(PASSWORD="hunter2-wrong")})
    with pytest.raises(OperationalError) as caught:
        query("SELECT 1")
    chain: list[BaseException] = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    assert len(chain) > 1
    for link in chain:
        for text in (str(link), repr(link)):
            assert "hunter2" not in text
            assert server.settings["PASSWORD"] not in text
    assert "hunter2" not in repr(pools["default"])


def test_timeout_of_a_full_pool__does_not_show_the_password_of_a_failed_connect(
    server: Vendor, use_databases: Any
) -> None:
    use_databases({"default": server.database({"max_size": 1, "pool_timeout": 0})})
    with pools["default"].connection():
        with pytest.raises(PoolTimeout) as caught:
            query("SELECT 1")
        assert server.settings["PASSWORD"] not in repr(caught.value)


def test_exhausted_pool__raises_after_its_timeout_and_not_before(use_pool: Any) -> None:
    use_pool(pool_size=1, max_overflow=0, pool_timeout=0.2)
    with pools["default"].connection():
        began = time.monotonic()
        with pytest.raises(PoolTimeout, match=r"within 0\.2 s") as caught:
            connection.ensure_connection()
        assert time.monotonic() - began >= 0.2
        assert isinstance(caught.value, OperationalError)
    assert query("SELECT 1") == 1


# -- dead connections -----------------------------------------------------------------------


@pytest.mark.slow
def test_server_restart__is_not_noticed_by_the_first_request(on: Server, use_pool: Any) -> None:
    use_pool(pool_size=4)
    fill(4)
    on.cluster.restart("primary")
    on.cluster.wait_for_replicas()
    assert query("SELECT 1") == 1
    assert (status().lost, status().cleared, status().open) == (1, 3, 1)
    assert status().connects == 5


@pytest.mark.slow
def test_requests_after_a_restart__all_succeed(on: Server, use_pool: Any) -> None:
    use_pool(pool_size=4, max_overflow=0, pool_timeout=20)
    fill(4)
    on.cluster.restart("primary")
    on.cluster.wait_for_replicas()
    start = threading.Barrier(8)

    def requests() -> int:
        start.wait()
        done = 0
        for _ in range(10):
            done += query("SELECT 1")
            connection.close()
        return done

    tasks = [Task(requests) for _ in range(8)]
    assert [task.result() for task in tasks] == [10] * 8


@pytest.mark.slow
def test_frozen_server__is_waited_for_no_longer_than_ping_timeout(
    on: Server, use_pool: Any
) -> None:
    use_pool(pool_size=2, ping_after=0, ping_timeout=0.2)
    fill(2)
    lost = status().lost

    def request() -> Any:
        try:
            return query("SELECT 1")
        finally:
            connection.close()

    on.cluster.signal("primary", signal.SIGSTOP)
    try:
        task = Task(request)
        eventually(lambda: status().lost == lost + 1)  # it has given up, and connects anew
    finally:
        on.cluster.signal("primary", signal.SIGCONT)
    assert task.result() == 1
    assert status().cleared == 1


def test_reset_of_all_connections__is_not_noticed_by_the_first_request(
    use_proxy: Any, proxy: FaultProxy
) -> None:
    use_proxy(pool_size=4)
    fill(4)
    proxy.drop()
    eventually(lambda: proxy.live == 0)
    assert query("SELECT 1") == 1
    assert (status().open, status().connects) == (1, 5)


@over_tls_too
def test_connection_killed_while_idle__is_replaced(on: Server, use_pool: Any) -> None:
    use_pool()
    session = query(on.own_id)
    connection.close()
    on.kill(session)
    assert query(on.own_id) != session
    assert status().lost == 1


@over_tls_too
def test_connection_killed_while_idle__is_noticed_without_pre_ping(
    on: Server, use_pool: Any
) -> None:
    use_pool(pool_pre_ping=False)
    session = query(on.own_id)
    connection.close()
    on.kill(session)
    assert query(on.own_id) != session


def test_connection_killed_while_leased__is_the_users_error_and_gives_the_place_back(
    on: Server, use_pool: Any
) -> None:
    use_pool(**ONE)
    session = query(on.own_id)
    on.kill(session)
    with pytest.raises((OperationalError, InterfaceError)):
        query("SELECT 1")
    connection.close()
    assert status().checkedout == 0
    assert query(on.own_id) != session


@pytest.mark.parametrize("leased", [False, True], ids=["idle", "leased"])
def test_sqlite_file_that_is_replaced__is_read_from_the_next_checkout_on(
    tmp_path: Path, use_databases: Any, leased: bool
) -> None:
    def make(path: Path, number: int) -> Path:
        with closing(sqlite3.connect(path)) as file:
            file.execute(f"CREATE TABLE numbers AS SELECT {number} AS n")
        return path

    path = make(tmp_path / "db.sqlite3", 1)
    vendor = Vendor("sqlite", {"NAME": str(path)})
    # A connection that is in use all the time is looked at when it comes back.
    use_databases({"default": vendor.database({**ONE, "ping_after": 60 if leased else 0})})
    assert query("SELECT n FROM numbers") == 1
    if not leased:
        connection.close()
    make(tmp_path / "restored.sqlite3", 2).replace(path)
    connection.close()
    assert query("SELECT n FROM numbers") == 2
    connection.close()
    assert status().connects == 2


def test_connection_killed_in_a_transaction__is_never_replayed(on: Server, use_pool: Any) -> None:
    use_pool(**ONE)
    query("DROP TABLE IF EXISTS killed")
    query("CREATE TABLE killed (n integer)")

    def write() -> None:
        with transaction.atomic():
            query("INSERT INTO killed VALUES (1)")
            on.kill(query(on.own_id))
            query("INSERT INTO killed VALUES (2)")

    with pytest.raises(DatabaseError):
        write()
    connection.close()
    assert query("SELECT count(*) FROM killed") == 0
    query("DROP TABLE killed")


@over_tls_too
@pytest.mark.parametrize("mode", ["blackhole", "half"])
def test_silence_on_an_idle_connection__is_waited_for_no_longer_than_ping_timeout(
    on: Server, use_proxy: Any, proxy: FaultProxy, mode: Any
) -> None:
    use_proxy(pool_size=2, ping_after=0, ping_timeout=0.2)
    fill(2)
    proxy.mode = mode

    def request() -> Any:
        try:
            return query("SELECT 1")
        finally:
            connection.close()

    task = Task(request)
    eventually(lambda: proxy.accepted == 3)  # it has given up, and connects anew
    assert status().lost == 1
    proxy.mode = "pass"
    if mode == "half":  # what the server said to the new connection is gone
        proxy.drop()
        task.error()
        assert query("SELECT 1") == 1
    else:
        assert task.result() == 1


@over_tls_too
def test_ping__takes_its_time_and_no_more(use_proxy: Any, proxy: FaultProxy) -> None:
    use_proxy()
    connector = pools["default"].connector
    assert connector is not None
    with pools["default"].connection() as raw:
        assert connector.ping(raw, 5)
        assert connector.ping(raw, 5)
        proxy.mode = "blackhole"
        began = time.monotonic()
        assert not Task(connector.ping, raw, 0.3).result()
        assert time.monotonic() - began >= 0.3
        proxy.mode = "pass"


@pytest.mark.parametrize("server", ["postgresql", "postgresql_tls"], indirect=True)
def test_notification__makes_the_socket_readable_but_the_connection_stays(use_pool: Any) -> None:
    use_pool(pool_size=2)
    with pools["default"].connection() as raw:
        raw.execute("LISTEN news")
        listener = raw.info.backend_pid
        descriptor = raw.fileno()
        with pools["default"].connection() as other:
            other.execute("NOTIFY news, 'hello'")
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            assert poll.poll(10_000)
    assert query(OWN_ID["postgresql"]) == listener
    assert status().lost == 0
    query("UNLISTEN news")


# -- limits ---------------------------------------------------------------------------------


def test_sixteen_threads_over_four__are_never_more_than_four_on_the_server(
    on: Server, use_pool: Any
) -> None:
    use_pool(pool_size=3, max_overflow=1, pool_timeout=30)
    count = on.count()
    assert count() == 0
    start = threading.Barrier(17)
    done = threading.Event()

    def work(number: int) -> int:
        start.wait()
        turns = 0
        while not done.is_set():
            query("SELECT 1")
            connection.close()
            turns += 1
        return turns

    tasks = [Task(work, number) for number in range(16)]
    start.wait()
    counted = [count() for _ in range(200)]
    done.set()
    turns = [task.result() for task in tasks]
    assert max(counted) <= 4
    assert min(turns) > 0
    assert status().checkouts == sum(turns)


def test_connections_that_are_replaced__are_never_more_than_the_maximum(
    on: Server, use_pool: Any
) -> None:
    """The server itself refuses one too many, and forgets a closed one a little later."""
    use_pool(pool_size=2, max_overflow=0, pool_timeout=30)
    count = on.count()
    counted = []
    for _ in range(10):
        with pools["default"].connection(), pools["default"].connection():
            counted.append(count())
        pools["default"].clear()
        eventually(lambda: count() == 0)
    assert set(counted) == {2}


# -- what is unfit to be lent again ---------------------------------------------------------


def checks_in_and_is_closed(spoil: Callable[[Any], object]) -> bool:
    with pools["default"].connection() as raw:
        kept = spoil(raw)
    closed = status().open == 0
    del kept
    assert query("SELECT 42") == 42
    return closed


def test_busy_connection__is_closed(use_postgresql: Any) -> None:
    use_postgresql(**ONE)
    assert checks_in_and_is_closed(lambda raw: raw.pgconn.send_query(b"SELECT 1"))


def test_half_read_stream__is_closed(use_postgresql: Any) -> None:
    use_postgresql(**ONE)

    def spoil(raw: Any) -> Any:
        rows = raw.cursor().stream("SELECT generate_series(1, 10000)")
        next(rows)
        return rows

    assert checks_in_and_is_closed(spoil)


def test_connection_closed_by_the_user__is_not_lent(server: Vendor, use_pool: Any) -> None:
    use_pool(**ONE)
    assert checks_in_and_is_closed(lambda raw: raw.close())


@pytest.mark.parametrize("rows", [3, 100_000], ids=["in the driver", "on the wire"])
def test_half_read_result__is_closed(
    mariadb_database: dict[str, str], use_databases: Any, rows: int
) -> None:
    vendor = Vendor("mariadb", mariadb_database)
    use_databases({"default": vendor.database(ONE)})

    def spoil(raw: Any) -> Any:
        cursor = raw.cursor(MySQLdb.cursors.SSCursor)
        cursor.execute(f"SELECT seq FROM seq_1_to_{rows}")
        assert cursor.fetchone() == (1,)
        return cursor

    assert checks_in_and_is_closed(spoil)


def test_open_transaction__does_not_survive_on_the_connection_of_a_tracing_tool(
    mariadb_database: dict[str, str], use_databases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Traced(Connection):
        """Tools replace connect() and return their own class, or a proxy."""

    monkeypatch.setattr(MySQLdb, "connect", Traced)
    vendor = Vendor("mariadb", mariadb_database)
    use_databases({"default": vendor.database(ONE)})
    query("CREATE OR REPLACE TABLE traced (n integer)")
    connection.close()
    for _ in range(3):
        with pools["default"].connection() as raw:
            assert type(raw) is Traced
            raw.cursor().execute("BEGIN")
            raw.cursor().execute("INSERT INTO traced VALUES (1)")
        connection.close()
    assert query("SELECT count(*) FROM traced") == 0
    query("DROP TABLE traced")


def test_unread_second_result__is_closed(
    mariadb_database: dict[str, str], use_databases: Any
) -> None:
    vendor = Vendor("mariadb", mariadb_database)
    use_databases({"default": vendor.database(ONE)})

    def spoil(raw: Any) -> Any:
        cursor = raw.cursor()
        cursor.execute("SELECT 1; SELECT 2")
        return cursor

    assert checks_in_and_is_closed(spoil)


def test_unread_second_result_of_a_procedure__is_closed(
    mariadb_database: dict[str, str], use_databases: Any
) -> None:
    vendor = Vendor("mariadb", mariadb_database)
    use_databases({"default": vendor.database(ONE)})
    query("CREATE OR REPLACE PROCEDURE twice() BEGIN SELECT 1; SELECT 2; END")
    connection.close()
    pools["default"].clear()

    def spoil(raw: Any) -> Any:
        cursor = raw.cursor()
        cursor.execute("CALL twice()")
        return cursor

    assert checks_in_and_is_closed(spoil)


# -- reset ----------------------------------------------------------------------------------


def test_session_reset__works_where_transactions_begin_by_themselves(use_postgresql: Any) -> None:
    use_postgresql(pool_size=1, max_overflow=0, reset="session")
    session = query(OWN_ID["postgresql"])
    connection.set_autocommit(False)
    query("SET work_mem = '1MB'")
    connection.close()
    assert query(OWN_ID["postgresql"]) == session
    assert connection.get_autocommit()
    assert query("SHOW work_mem") != "1MB"


RESETS: list[Any] = []


def note_reset(raw: Any) -> None:
    RESETS.append(raw)


def failing_reset(raw: Any) -> None:
    RESETS.append(raw)
    raise ValueError("as told")


@pytest.mark.parametrize("as_path", [True, False], ids=["path", "callable"])
def test_custom_reset__is_called_with_the_raw_connection(use_pool: Any, as_path: bool) -> None:
    RESETS.clear()
    use_pool(pool_size=1, reset=f"{__name__}.note_reset" if as_path else note_reset)
    connection.ensure_connection()
    raw = connection.connection
    connection.close()
    assert [raw] == RESETS
    connection.ensure_connection()
    assert connection.connection is raw


def test_custom_reset_that_raises__closes_the_connection(on: Server, use_pool: Any) -> None:
    RESETS.clear()
    use_pool(pool_size=1, max_overflow=0, reset=failing_reset)
    session = query(on.own_id)
    connection.close()
    assert len(RESETS) == 1
    assert status().open == 0
    assert query(on.own_id) != session


def test_custom_reset__may_run_sql_and_leaves_no_transaction_open(
    on: Server, use_pool: Any
) -> None:
    def reset(raw: Any) -> None:
        raw.cursor().execute("BEGIN")

    use_pool(pool_size=1, reset=reset)
    session = query(on.own_id)
    connection.close()
    assert query(on.own_id) == session
    query("DROP TABLE IF EXISTS after_reset")
    query("CREATE TABLE after_reset (n integer)")
    query("INSERT INTO after_reset VALUES (1)")
    connection.close()
    pools["default"].clear()
    assert query("SELECT count(*) FROM after_reset") == 1
    query("DROP TABLE after_reset")


# -- fork -----------------------------------------------------------------------------------

FORK = """
import gc, json, multiprocessing, os, sys, warnings
warnings.simplefilter("error")
import django
from django.conf import settings

database, own_id, how = json.loads(sys.argv[1])
settings.configure(DATABASES={"default": database}, INSTALLED_APPS=["django_poolrouter"],
                   SECRET_KEY="x", POOLROUTER={"RUNTIME_DIR": sys.argv[2]})
django.setup()
from django.db import connection, connections, transaction
from django_poolrouter import pools

def ask(cursor):
    cursor.execute(own_id)
    return cursor.fetchone()[0]

kept = []

def child():
    own = connections["default"].copy()
    with pools["default"].connection() as lent:
        assert ask(lent.cursor()) not in before.values(), "the parent's session"
        assert ask(own.cursor()) not in before.values(), "the parent's session"
    if how == "leaves it open":
        kept.append(own)
    else:
        own.close()
    gc.collect()

with pools["default"].connection() as a, pools["default"].connection() as b:
    idle = [ask(a.cursor()), ask(b.cursor())]
copied = connections["default"].copy()
with pools["default"].connection() as raw, transaction.atomic():
    before = {"raw": ask(raw.cursor()), "copy": ask(copied.cursor())}
    with connection.cursor() as cursor:
        before["atomic"] = ask(cursor)
        cursor.execute("CREATE TEMPORARY TABLE mine (n integer)")
        cursor.execute("INSERT INTO mine VALUES (1)")
    with pools["default"].connection() as third, pools["default"].connection() as fourth:
        before["third"], before["fourth"] = ask(third.cursor()), ask(fourth.cursor())
    for _ in range(3):
        if how == "multiprocessing":
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join()
            assert process.exitcode == 0
            continue
        pid = os.fork()
        if pid == 0:
            if how != "does nothing":
                child()
            sys.exit(0)  # unwinds the blocks, runs atexit and finalizers
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    after = {"raw": ask(raw.cursor()), "copy": ask(copied.cursor())}
    with connection.cursor() as cursor:
        after["atomic"] = ask(cursor)
        cursor.execute("SELECT count(*) FROM mine")
        assert cursor.fetchone() == (1,)
    with pools["default"].connection() as third, pools["default"].connection() as fourth:
        after["third"], after["fourth"] = ask(third.cursor()), ask(fourth.cursor())
copied.close()
connection.close()
assert sorted(before.values()) == sorted(after.values()), (before, after)
assert before["atomic"] == after["atomic"] and before["raw"] == after["raw"]
status = pools["default"].status()
assert (status.lost, status.checkedout) == (0, 0), status
print("undisturbed")
"""


@over_tls_too
@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["does nothing", "uses its own", "leaves it open", "multiprocessing"]
)
def test_forked_child_that_exits__does_not_disturb_its_parent(
    on: Server, server: Vendor, tmp_path: Path, how: str
) -> None:
    arguments = json.dumps([server.database({"pool_size": 8}), on.own_id, how])
    done = programs.run(
        ["-c", FORK, arguments, str(tmp_path)],
        environment=os.environ,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["undisturbed"]
    assert "Traceback" not in done.stderr, done.stderr
    eventually(lambda: not on.sessions())
