"""Replicas that fail, freeze, lag and are promoted, on real servers under traffic."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from django.db.models.expressions import RawSQL

from django_poolrouter import PoolHealthMonitor, ReplicaUnavailable, pools, scope, using_replica
from django_poolrouter.process.registry import registry
from django_poolrouter.routing import Monitor, ReplicaHealth, Scope, carry, current_scope
from django_poolrouter.routing.monitor import INTERVAL
from django_poolrouter.routing.replica_health import COOL_DOWN
from django_poolrouter.test import assert_routed_to
from tests.servers import (
    Cluster,
    FaultProxy,
    MariadbCluster,
    PostgresqlCluster,
)
from tests.servers.fixtures import started
from tests.support.doubles import Task
from tests.support.testapp.replicated import Shop
from tests.support.testapp.shop.models import Author
from tests.support.testapp.site import PORT, where, witness
from tests.support.waiting import eventually

REPLICAS = ("replica1", "replica2")
# From the end of a failure to the next probe, and a moment for it.
BACK = COOL_DOWN + 2 * INTERVAL + 3
# Seconds for a read that asks a frozen server at most once: with no time limit it would hang.
PATIENCE = 10.0
KINDS = {"postgresql": PostgresqlCluster, "mariadb": MariadbCluster}


@pytest.fixture(scope="module", params=KINDS)
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A shop whose servers run again after each test of this module."""
    with started(KINDS[request.param](2)) as servers:
        yield Shop(request.param, servers)


@pytest.fixture(scope="module")
def seeded(shop: Shop, django_db_blocker: Any) -> Shop:
    from tests.support.databases import configured

    with django_db_blocker.unblock(), configured(shop.databases()):
        shop.seed()
    return shop


@pytest.fixture
def use(seeded: Shop, use_databases: Any) -> Iterator[Callable[..., Shop]]:
    """Use the shop with these options, in a scope as of a thread that did nothing yet."""

    def use(**options: Any) -> Shop:
        use_databases(seeded.databases(**options))
        return seeded

    with scope(Scope(sticky=False)):
        yield use


def known() -> ReplicaHealth:
    return registry.topology.clusters["default"].health


def read() -> str:
    """Read in a scope of its own, as a request does; returns where."""
    with scope():
        [*_, alias] = where(lambda: Author.objects.get(name="Ada"))
    connections.close_all()
    return alias


class Traffic:
    """Threads that read one row, each read in a scope of its own."""

    def __init__(self, threads: int = 4) -> None:
        self.stop = threading.Event()
        self.reads = 0
        self.longest = 0.0
        self._tasks = [Task(self._read_on) for _ in range(threads)]

    def _read_on(self) -> None:
        try:
            while not self.stop.is_set():
                began = time.monotonic()
                with scope():
                    assert Author.objects.get(name="Ada").name == "Ada"
                connections.close_all()
                self.longest = max(self.longest, time.monotonic() - began)
                self.reads += 1
        finally:
            connections.close_all()

    def finish(self) -> None:
        self.stop.set()
        for task in self._tasks:
            task.result()


@contextmanager
def traffic() -> Iterator[Traffic]:
    flowing = Traffic()
    try:
        yield flowing
    finally:
        flowing.finish()


def ports() -> Counter[str]:
    with witness() as ran:
        time.sleep(0.3)
    return ran.counts


def reads_on(alias: str) -> bool:
    return ports()[alias] > 0


def read_fails() -> bool:
    try:
        read()
    except OperationalError:
        return True
    return False


# -- failures ---------------------------------------------------------------------------


def test_killed_replicas__fail_no_read_and_get_their_load_back(use: Any) -> None:
    shop = use()
    with traffic() as flowing:
        for replica in REPLICAS:
            eventually(lambda r=replica: reads_on(r))
            shop.servers.signal(replica, signal.SIGKILL)
            eventually(lambda r=replica: known().state(r) == "ejected")
            assert not reads_on(replica)
            shop.servers.restart(replica)
            eventually(lambda r=replica: reads_on(r), BACK)
        before = flowing.reads
        for replica in REPLICAS:
            shop.servers.signal(replica, signal.SIGKILL)
            # A read that fails on both at once, while it is repeated, is not sent again.
            eventually(lambda r=replica: not reads_on(r))
        eventually(lambda: set(ports()) == {"default"})
        for replica in REPLICAS:
            shop.servers.restart(replica)
        eventually(lambda: set(ports()) == set(REPLICAS), BACK)
    assert flowing.reads > before


def test_iterator__moves_before_its_first_row(use: Any) -> None:
    shop = use()
    assert {read(), read()} == set(REPLICAS)
    shop.servers.signal("replica1", signal.SIGKILL)
    try:
        for _ in range(2):
            assert [a.name for a in Author.objects.iterator() if a.name == "Ada"] == ["Ada"]
    finally:
        shop.servers.restart("replica1")


def test_moved_read__gives_its_connection_back_with_its_cursor(use: Any) -> None:
    shop = use(pool={"hold": "transaction"})
    assert {read(), read()} == set(REPLICAS)
    shop.servers.signal("replica1", signal.SIGKILL)
    current_scope().choose("default", "replica1")
    try:
        with connections["replica1"].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM shop_author")
            assert cursor.db.alias != "replica1"
            assert pools[cursor.db.alias].status().checkedout == 1
        assert [pools[alias].status().checkedout for alias in connections] == [0, 0, 0]
    finally:
        shop.servers.restart("replica1")


# What ends its own session, as a query does that crashes the server; and counts as a write.
FATAL_READ = "SELECT pg_terminate_backend(pg_backend_pid())"
FATAL_WRITES = {
    "postgresql": "DO $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END $$",
    "mariadb": "KILL CONNECTION_ID()",
}
KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mariadb": "KILL {}"}


def execute(alias: str, sql: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)


@contextmanager
def chosen() -> Iterator[str]:
    """Give the replica that the router chose for a scope that read there."""
    with scope():
        [*_, alias] = where(Author.objects.count)
        yield alias
    connections.close_all()


def test_read__that_ends_its_session_is_sent_twice_and_no_further(use: Any) -> None:
    if use().kind != "postgresql":
        pytest.skip("no query of MariaDB ends its own session")
    registry.monitor.note_use = lambda cluster: None
    with chosen() as first, witness() as ran:
        with pytest.raises(OperationalError):
            execute(first, FATAL_READ)
        [second] = set(REPLICAS) - {first}
        assert ran.aliases == [first, second]
        # The first failed; the second is the monitor's to judge, which finds it well.
        assert [known().state(replica) for replica in (first, second)] == ["ejected", "up"]


def test_read__goes_on_past_a_server_to_which_it_could_not_be_sent(use: Any) -> None:
    shop = use()
    registry.monitor.note_use = lambda cluster: None
    with chosen() as first:
        for replica in REPLICAS:
            shop.servers.signal(replica, signal.SIGKILL)
        try:
            assert where(lambda: Author.objects.get(name="Ada"))[-1:] == ["default"]
        finally:
            for replica in REPLICAS:
                shop.servers.restart(replica)
    assert known().state(first) == "ejected"


def test_write__is_never_repeated_elsewhere(use: Any) -> None:
    shop = use()
    with chosen() as alias, witness() as ran:
        with pytest.raises(OperationalError):
            execute(alias, FATAL_WRITES[shop.kind])
        shop.servers.signal(alias, signal.SIGKILL)
        try:
            with pytest.raises(OperationalError):
                Author.objects.using(alias).filter(name="Bob").update(name="Eve")
        finally:
            shop.servers.restart(alias)
    assert set(ran.aliases) <= {alias}


def test_read__in_a_transaction_on_a_replica_is_never_repeated_elsewhere(use: Any) -> None:
    """The transaction is lost, and what it read before with it."""
    shop = use()
    with chosen() as alias:
        authors, connection = Author.objects.using(alias), connections[alias]
        with suppress(OperationalError), transaction.atomic(using=alias):
            authors.count()
            session = connection.driver_class().backend_id(connection.connection)
            shop.servers.sql(alias, KILL[shop.kind].format(session))
            with witness() as ran, pytest.raises(OperationalError):
                authors.count()
        assert ran.aliases == [alias]


def test_alias_named_outright__is_asked_and_no_other(use: Any) -> None:
    """A read that names a server asks whether it is well, perhaps."""
    shop = use()
    read()
    shop.servers.signal("replica1", signal.SIGKILL)
    try:
        eventually(lambda: (read(), known().state("replica1"))[1] == "ejected")
        for _ in range(2):
            with scope():
                read()
                assert Author.objects.exists()
                with pytest.raises(OperationalError):
                    connections["replica1"].cursor()
                with pytest.raises(OperationalError):
                    Author.objects.using("replica1").count()
    finally:
        shop.servers.restart("replica1")


def test_moved_read__tells_its_own_reason(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    shop = use(MAX_LAG=None)
    for replica in REPLICAS:
        shop.fall_behind(replica)
    try:
        carried = written()
        logging.disable()  # as some projects do in their tests
        try:
            with assert_routed_to("default") as ran:
                carry.unpack(carried, registry.topology.clusters, current_scope())
                Author.objects.exists()
        finally:
            logging.disable(logging.NOTSET)
        with caplog.at_level(logging.DEBUG, "django_poolrouter.router"):
            read_with(carried)
    finally:
        for replica in REPLICAS:
            shop.catch_up(replica)
    assert [query.reason for query in ran] == ["no replica has the user's writes yet"]
    assert ": default (no replica has the user's writes yet)" in caplog.text
    assert "read moved from replica" in caplog.text


def test_repeated_read__tells_its_own_reason(use: Any) -> None:
    shop = use()
    registry.monitor.note_use = lambda cluster: None
    assert {read(), read()} == set(REPLICAS)
    shop.servers.signal("replica1", signal.SIGKILL)
    try:
        with assert_routed_to(*REPLICAS) as ran:
            current_scope().choose("default", "replica1")
            Author.objects.exists()
    finally:
        shop.servers.restart("replica1")
    assert (ran[-1].alias, ran[-1].reason) == ("replica2", "the chosen replica failed")


@pytest.mark.parametrize("pool", [True, False])
def test_health_checks__ask_the_replica_itself(use: Any, pool: bool) -> None:
    shop = use()
    for replica in REPLICAS:
        connections.settings[replica]["OPTIONS"]["pool"] = pool
    shop.servers.signal("replica1", signal.SIGKILL)
    try:
        for choice in ("replica2", "replica1"):
            with scope():
                current_scope().choose("default", choice)
                assert not PoolHealthMonitor("replica1").is_healthy()
                with pytest.raises(OperationalError):
                    pools["replica1"].ping(1.0)
                assert pools["replica2"].ping(1.0) is None
    finally:
        shop.servers.restart("replica1")


def test_fallback__error_says_so_when_no_replica_is_left(use: Any) -> None:
    shop = use(FALLBACK="error")
    assert {read(), read()} == set(REPLICAS)
    for replica in REPLICAS:
        shop.servers.signal(replica, signal.SIGKILL)
    try:
        eventually(lambda: read_fails() and known().ready == ())
        with pytest.raises(ReplicaUnavailable, match="replica1 ejected, replica2 ejected"):
            read()
    finally:
        for replica in REPLICAS:
            shop.servers.restart(replica)


def test_frozen_replica__keeps_unsent_reads_no_longer_than_ping_timeout(
    use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = use(pool={"ping_after": 0, "ping_timeout": 1.0})
    registry.monitor.note_use = lambda cluster: None  # nobody else finds out
    for _ in range(4):
        read()
    shop.servers.signal("replica1", signal.SIGSTOP)
    try:
        for _ in range(2):
            began = time.monotonic()
            assert read() == "replica2"
            assert time.monotonic() - began < PATIENCE
        assert known().state("replica1") == "ejected"
        monkeypatch.setattr(connections["replica1"].Database, "connect", None)  # none is tried
        with pytest.raises(ReplicaUnavailable), pools["replica1"].connection():
            pass
    finally:
        shop.servers.signal("replica1", signal.SIGCONT)


def test_frozen_replica__is_found_by_the_monitor_and_comes_back(use: Any) -> None:
    shop = use(pool={"ping_after": 0, "ping_timeout": 1.0})
    read()
    # What is sent while a connection is opened waits as long as the driver does.
    eventually(lambda: pools["replica1"].status().checkedin)
    shop.servers.signal("replica1", signal.SIGSTOP)
    try:
        eventually(lambda: known().state("replica1") == "ejected")
        assert {read() for _ in range(4)} == {"replica2"}
    finally:
        shop.servers.signal("replica1", signal.SIGCONT)
    eventually(lambda: known().state("replica1") == "up", BACK)
    assert {read() for _ in range(4)} == set(REPLICAS)


def test_recovery_conflict__is_repeated_on_another_replica_that_stays_in_service(
    use: Any,
) -> None:
    shop = use()
    if shop.kind != "postgresql":
        pytest.skip("only PostgreSQL cancels queries for replication")
    set_delay = "ALTER SYSTEM SET max_standby_streaming_delay = {}"
    shop.servers.sql("replica1", set_delay.format("0"), "SELECT pg_reload_conf()")
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT%pg_sleep%'"
    books = Author.objects.using("replica1").annotate(wait=RawSQL("pg_sleep(1)", ()))

    def read_slowly() -> list[str]:
        try:
            with scope(), witness() as ran:
                current_scope().choose("default", "replica1")
                assert len(books[:3]) == 3
            return [*ran.aliases, registry.topology.clusters["default"].health.state("replica1")]
        finally:
            connections.close_all()

    try:
        for _ in range(3):
            write()
        shop.servers.wait_for_replicas()
        task = Task(read_slowly)
        eventually(lambda: int(shop.servers.sql("replica1", running)) > 1)
        Author.objects.using("default").filter(name="new").update(name="newer")
        pools["default"].execute("VACUUM shop_author")
        assert task.result() == ["replica1", "replica2", "up"]
    finally:
        shop.servers.sql("replica1", set_delay.format("'30s'"), "SELECT pg_reload_conf()")


# -- coming back ------------------------------------------------------------------------


def reading(condition: Callable[[], Any]) -> None:
    """Return when the condition holds, reading meanwhile, as a process with traffic does."""
    eventually(lambda: (read(), condition())[1], BACK)


def test_replicas__that_were_out_for_long_come_back_to_a_process_that_reads(use: Any) -> None:
    """Nobody reads from them, and so nobody looks after them for their own sake."""
    shop = use()
    registry.monitor = Monitor(idle=2.0)
    assert {read(), read()} == set(REPLICAS)
    for replica in REPLICAS:
        shop.servers.signal(replica, signal.SIGKILL)
    reading(lambda: known().ready == ())
    registry.monitor.stop()  # as it ends by itself, and before a fork
    for replica in REPLICAS:
        shop.servers.restart(replica)
    reading(lambda: {read(), read()} == set(REPLICAS))


# -- lag --------------------------------------------------------------------------------


def write() -> None:
    Author.objects.using("default").create(name="new")


def test_lagging_replica__is_skipped_until_it_has_caught_up(use: Any) -> None:
    shop = use(MAX_LAG=2)
    read()
    shop.fall_behind("replica1")
    try:
        began = time.monotonic()
        while known().state("replica1") != "lagging":
            assert time.monotonic() - began < 20
            write()
            time.sleep(0.1)
            read()
        assert {read() for _ in range(4)} == {"replica2"}
        lag = known().lag("replica1")
        assert lag is None or lag > 2
    finally:
        shop.catch_up("replica1")
    eventually(lambda: (read(), known().state("replica1"))[1] == "up")
    assert {read() for _ in range(4)} == set(REPLICAS)


def test_idle_primary__makes_no_replica_lag(use: Any) -> None:
    use(MAX_LAG=0.5)
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        assert read() in REPLICAS
        time.sleep(0.05)
    assert [known().lag(replica) for replica in REPLICAS] == [0.0, 0.0]


# -- positions --------------------------------------------------------------------------


def written() -> dict[str, Any]:
    """Write in a request of its own; returns what the user carries away."""
    with scope() as entered:
        Author.objects.create(name="mine")
        carried = carry.pack(entered, registry.topology.clusters.values())
    connections.close_all()
    return carried


def read_with(carried: Any) -> str:
    with scope(carry.unpack(carried, registry.topology.clusters)):
        [*_, alias] = where(lambda: Author.objects.filter(name="mine").first())
    connections.close_all()
    return alias


def test_position__leads_to_the_replica_that_has_reached_it(use: Any) -> None:
    shop = use(MAX_LAG=None)
    assert isinstance(written()["default"], list)
    shop.fall_behind("replica1")
    try:
        carried = written()
        assert {read_with(carried) for _ in range(6)} == {"replica2"}
        shop.fall_behind("replica2")
        carried = written()
        assert {read_with(carried) for _ in range(4)} == {"default"}
        with using_replica():
            assert {read_with(carried) for _ in range(2)} <= set(REPLICAS)
    finally:
        shop.catch_up("replica1")
        shop.catch_up("replica2")
    assert eventually(lambda: read_with(carried) in REPLICAS)


def test_position__that_is_known_to_be_reached_costs_no_question(use: Any) -> None:
    use()
    registry.monitor.note_use = lambda cluster: None
    carried = written()
    aliases = [eventually(lambda: (a := read_with(carried)) in REPLICAS and a)]
    before = sum(pools[r].status().checkouts for r in REPLICAS)
    aliases += [read_with(carried) for _ in range(5)]
    assert sum(pools[r].status().checkouts for r in REPLICAS) - before == 5
    assert set(aliases) <= set(REPLICAS)


def test_position__of_an_open_transaction_is_a_pin(use: Any) -> None:
    use()
    with scope() as entered, transaction.atomic():
        Author.objects.create(name="mine")
        carried = carry.pack(entered, registry.topology.clusters.values())
    assert isinstance(carried["default"], float)


def test_restarted_replica__must_prove_anew_what_it_has(use: Any) -> None:
    """After a crash it may show less than it did."""
    shop = use(MAX_LAG=None)
    carried = written()
    eventually(lambda: read_with(carried) == "replica1")
    shop.servers.signal("replica1", signal.SIGKILL)
    shop.servers.restart("replica1")
    with scope(carry.unpack(carried, registry.topology.clusters)):
        current_scope().choose("default", "replica1")
        assert Author.objects.filter(name="mine").exists()
    connections.close_all()
    # A session may outlive its server's restart by a moment, and cost the replica its place.
    eventually(lambda: read_with(carried) == "replica1")


def test_scope__that_wrote_stays_on_the_primary_until_its_end(use: Any) -> None:
    use(PIN_SECONDS=0)
    with scope():
        Author.objects.create(name="mine")
        assert set(where(lambda: [Author.objects.count() for _ in range(3)])) == {"default"}
    assert read() in REPLICAS


# -- promotion --------------------------------------------------------------------------


@pytest.fixture
def own_shop() -> Iterator[Callable[[str], Shop]]:
    """Start servers of this kind for one test, which may break them for good."""
    with ExitStack() as stack:

        def start(kind: str) -> Shop:
            return Shop(kind, stack.enter_context(started(KINDS[kind](2))))

        yield start


def promote(servers: Cluster) -> None:
    """Let replica1 take the place of the primary, which dies."""
    servers.signal("primary", signal.SIGKILL)
    servers.promote("replica1")
    servers.follow("replica2", "replica1")


def written_after_failover() -> Any:
    try:
        return written()
    except OperationalError:
        connections.close_all()
        return None


def is_written_to(shop: Shop, node: str) -> bool:
    asked = pools["default"].execute(f"SELECT {PORT[shop.kind]}")
    return asked == [(shop.servers.ports[node],)]


def test_promotion__is_followed_without_restart(own_shop: Any, use_databases: Any) -> None:
    shop = own_shop("postgresql")
    databases = shop.databases(PIN_SECONDS=2)
    databases["default"] |= {
        "HOST": ",".join(["127.0.0.1"] * 3),
        "PORT": ",".join(str(shop.servers.ports[node]) for node in shop.servers.nodes),
    }
    databases["default"]["OPTIONS"]["target_session_attrs"] = "read-write"
    use_databases(databases)
    with scope():
        shop.seed()
    old = written()
    assert eventually(lambda: read_with(old) in REPLICAS)

    promote(shop.servers)
    new = eventually(written_after_failover)

    assert is_written_to(shop, "replica1")
    epochs = [str(carried["default"][1]).partition("/")[0] for carried in (old, new)]
    assert epochs[0] != epochs[1]
    assert eventually(lambda: read_with(new) in REPLICAS)
    # The old history is over; what was written in it pins for PIN_SECONDS.
    with scope(carry.unpack(old, registry.topology.clusters)) as entered:
        Author.objects.filter(name="mine").first()
        assert entered.positions == {}
    assert eventually(lambda: read_with(old) in REPLICAS)


def test_promotion__behind_a_host_that_moves_is_followed_without_restart(
    own_shop: Any, use_databases: Any, fault_proxy: Callable[[int], FaultProxy]
) -> None:
    """MariaDB's positions have no epochs: the new primary goes on with the old numbers."""
    shop = own_shop("mariadb")
    host = fault_proxy(shop.servers.ports["primary"])
    databases = shop.databases(MAX_LAG=None)
    databases["default"]["PORT"] = str(host.port)
    use_databases(databases)
    with scope():
        shop.seed()
    old = written()
    assert eventually(lambda: read_with(old) in REPLICAS)
    for replica in REPLICAS:
        shop.servers.sql(replica, "STOP SLAVE IO_THREAD")
    lost = [written() for _ in range(3)][-1]

    promote(shop.servers)
    with pytest.raises(OperationalError):
        written()
    connections.close_all()
    host.redirect(shop.servers.ports["replica1"])
    new = eventually(written_after_failover)

    assert is_written_to(shop, "replica1")
    assert {read_with(old) for _ in range(4)} <= {*REPLICAS}
    assert eventually(lambda: read_with(new) == "replica2")
    # What was written last was lost with its server, and its number is yet to come.
    assert {read_with(lost) for _ in range(4)} == {"default"}
    for _ in range(3):
        written()
    assert eventually(lambda: read_with(lost) == "replica2")
