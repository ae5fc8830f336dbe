"""What is known of replicas, which may be read, and how servers are asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from django_poolrouter.routing import (
    Cluster,
    ClusterConfig,
    NoReplica,
    NotAsked,
    Position,
    ReplicaHealth,
    Scope,
    ServerFailed,
    Using,
)
from django_poolrouter.routing.balancers import round_robin
from django_poolrouter.routing.config import ReplicaConfig
from django_poolrouter.routing.prober import CURRENT, WAIT
from django_poolrouter.routing.replica_health import COOL_DOWN
from django_poolrouter.routing.surroundings import Surroundings
from tests.support.doubles import FakeServers, Task
from tests.support.waiting import eventually


class Clock:
    """Seconds that pass when they are told to, or slept."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def servers() -> FakeServers:
    return FakeServers(default=100, r1=100, r2=100, r3=100)


@pytest.fixture
def make(servers: FakeServers, clock: Clock) -> Callable[..., Cluster]:
    def make(replicas: int = 2, **options: Any) -> Cluster:
        names = [f"r{number}" for number in range(1, replicas + 1)]
        config = ClusterConfig("default", tuple(map(ReplicaConfig, names)), **options)
        surroundings = Surroundings(
            servers=servers, tells_positions=True, clock=clock, wall_clock=clock
        )
        made = Cluster(config, round_robin, surroundings)
        assert made.prober is not None
        made.prober._sleep = clock.sleep
        return made

    return make


@pytest.fixture
def cluster(make: Callable[..., Cluster]) -> Cluster:
    return make()


def look(cluster: Cluster, *aliases: str) -> None:
    assert cluster.prober is not None
    for alias in aliases or ("default", *cluster.replicas):
        cluster.prober.look(alias)


def ready(known: ReplicaHealth) -> list[str]:
    return [candidate.alias for candidate in known.ready]


def never(alias: str) -> bool:
    return False


def at(place: int, epoch: str = "a") -> Position:
    return Position(epoch, {"": place})


# -- what others are told ------------------------------------------------------------------


def test_on_look__tells_what_each_look_found(servers: FakeServers, clock: Clock) -> None:
    told: list[tuple[str, str, float | None]] = []
    config = ClusterConfig("default", (ReplicaConfig("r1"),), max_lag=5)
    cluster = Cluster(
        config,
        round_robin,
        Surroundings(servers=servers, clock=clock, on_look=lambda *found: told.append(found)),
    )
    look(cluster)
    assert told.pop() == ("r1", "up", 0.0)
    for seconds, state in ((3, "up"), (3, "lagging")):
        clock.now += seconds
        servers.logs["default"] = 100 + int(clock.now)
        look(cluster)
        assert told.pop() == ("r1", state, clock.now - 1000)
    servers.logs["r1"] = ServerFailed("down")
    look(cluster, "r1")
    assert told.pop() == ("r1", "ejected", None)
    servers.logs["r1"] = servers.logs["default"]
    clock.now += COOL_DOWN
    look(cluster, "r1")
    assert told.pop() == ("r1", "up", 0.0)


# -- ejection ---------------------------------------------------------------------------


def test_replica_that_fails__is_out_until_a_probe_finds_it_well(
    cluster: Cluster, servers: FakeServers, clock: Clock
) -> None:
    known = cluster.health
    assert known.eject("r1")
    assert not known.eject("r1")  # no news
    assert (known.state("r1"), ready(known)) == ("ejected", ["r2"])
    look(cluster, "r1")
    assert servers.asked == []  # not before the cool-down is over
    clock.now += COOL_DOWN
    servers.logs["r1"] = ServerFailed("still down")
    look(cluster, "r1")
    assert known.state("r1") == "ejected"
    servers.logs["r1"] = 100
    look(cluster, "r1")
    assert known.state("r1") == "ejected"
    clock.now += COOL_DOWN
    look(cluster, "r1")
    assert (known.state("r1"), ready(known)) == ("up", ["r1", "r2"])


def test_probe__is_made_by_one_at_a_time(cluster: Cluster, clock: Clock) -> None:
    cluster.health.eject("r1")
    clock.now += COOL_DOWN
    assert [cluster.health.begin_probe("r1") for _ in range(3)] == [True, False, False]


def test_replica_that_does_not_answer_the_monitor__is_ejected(
    cluster: Cluster, servers: FakeServers
) -> None:
    servers.logs["r2"] = ServerFailed("gone")
    look(cluster)
    assert ready(cluster.health) == ["r1"]


def test_busy_pool__says_nothing_of_the_server(cluster: Cluster, servers: FakeServers) -> None:
    servers.logs.update(default=NotAsked(), r1=NotAsked())
    look(cluster)
    assert ready(cluster.health) == ["r1", "r2"]


def test_hanging_replica__is_left_alone_by_all_but_the_prober(
    cluster: Cluster, clock: Clock
) -> None:
    known = cluster.health
    known.eject("r1")
    assert not known.refuses("r1")  # to try costs nothing
    known.eject("r1", hangs=True)
    assert known.refuses("r1")
    known.eject("r1")
    assert known.refuses("r1")
    clock.now += COOL_DOWN
    assert known.begin_probe("r1")
    assert not known.refuses("r1")
    assert Task(known.refuses, "r1").result()
    known.readmit("r1")
    assert not Task(known.refuses, "r1").result()


# -- lag --------------------------------------------------------------------------------


def test_lagging_replica__is_skipped_and_not_ejected(
    cluster: Cluster, servers: FakeServers, clock: Clock
) -> None:
    look(cluster)
    for _ in range(12):
        clock.now += 1
        servers.logs["default"] += 1
        servers.logs["r2"] += 1
        look(cluster)
    assert (cluster.health.state("r1"), cluster.health.lag("r1")) == ("lagging", 12)
    assert ready(cluster.health) == ["r2"]
    servers.logs["r1"] = servers.logs["default"]
    look(cluster)
    assert (cluster.health.state("r1"), cluster.health.lag("r1")) == ("up", 0)


def test_replica_without_position__lags(cluster: Cluster, servers: FakeServers) -> None:
    servers.logs["r1"] = None
    look(cluster)
    assert cluster.health.state("r1") == "lagging"


def test_lag__is_nothing_where_the_primary_cannot_tell(
    cluster: Cluster, servers: FakeServers
) -> None:
    servers.logs.update(default=None, r1=None, r2=None)
    look(cluster)
    assert ready(cluster.health) == ["r1", "r2"]


def test_replica_behind_all_samples__may_be_older_than_max_lag(
    cluster: Cluster, servers: FakeServers
) -> None:
    servers.logs["r1"] = 50
    look(cluster)
    assert cluster.health.state("r1") == "lagging"
    servers.logs["r1"] = 100
    look(cluster)
    assert cluster.health.state("r1") == "up"


@pytest.mark.parametrize(
    ("replicas", "lagging", "fallback", "left"),
    [
        (1, 1, "lagging", []),
        (2, 1, "lagging", ["r2"]),
        (2, 2, "lagging", ["r1", "r2"]),
        (3, 2, "lagging", ["r1", "r2", "r3"]),
        (3, 1, "lagging", ["r2", "r3"]),
        (2, 2, "primary", []),
        (3, 2, "primary", ["r3"]),
        (3, 2, "error", ["r3"]),
        (2, 2, "error", []),
    ],
)
def test_primary__is_spared_where_most_replicas_lag(
    make: Any, servers: FakeServers, replicas: int, lagging: int, fallback: str, left: list[str]
) -> None:
    cluster = make(replicas, fallback=fallback)
    for number in range(1, lagging + 1):
        servers.logs[f"r{number}"] = None
    look(cluster)
    assert ready(cluster.health) == left


def test_dead_primary__makes_no_replica_lag(make: Any, servers: FakeServers, clock: Clock) -> None:
    cluster = make(1)
    look(cluster)
    servers.logs["default"] = 101  # never replicated
    look(cluster, "default")
    servers.logs["default"] = ServerFailed("dead")
    for _ in range(12):
        clock.now += 1
        look(cluster)
    assert ready(cluster.health) == ["r1"]
    servers.logs["default"] = 101
    look(cluster)
    assert ready(cluster.health) == []


def test_dead_primary__leaves_replicas_that_lag_and_the_log_says_so(
    cluster: Cluster, servers: FakeServers, caplog: pytest.LogCaptureFixture
) -> None:
    servers.logs["r1"] = None
    look(cluster)
    assert ready(cluster.health) == ["r2"]
    servers.logs["default"] = ServerFailed("dead")
    for _ in range(3):
        look(cluster, "default")
    assert ready(cluster.health) == ["r1", "r2"]
    told = "the primary 'default' does not answer (dead): reads go to replicas that lag: r1"
    assert caplog.messages == [told]


def test_first_read__waits_until_the_primary_and_the_replica_were_asked(
    cluster: Cluster, servers: FakeServers, clock: Clock
) -> None:
    """A replica that was asked before the primary may lag all the same."""
    prober = cluster.prober
    assert prober is not None
    servers.logs["r1"] = 50
    look(cluster, "r1", "r2")
    assert ready(cluster.health) == ["r1", "r2"]
    assert not prober.is_current("r1")
    clock.now += 0.001
    cluster.make_current("r1", is_watched=False)
    assert prober.is_current("r1")
    assert not prober.is_current("r2")
    decision = cluster.choose_caught_up(Scope(), "r1")
    assert (decision.alias, decision.reason) == ("r2", "the chosen replica lags")
    assert prober.is_current("r2")


def test_first_read__finds_a_replica_that_catches_up_meanwhile(
    cluster: Cluster, servers: FakeServers, clock: Clock
) -> None:
    prober = cluster.prober
    assert prober is not None
    servers.logs["r1"] = 99

    def sleep(seconds: float) -> None:
        clock.now += seconds
        servers.logs["r1"] = 100

    prober._sleep = sleep
    cluster.make_current("r1", is_watched=False)
    assert ready(cluster.health) == ["r1", "r2"]


def test_look_that_is_old__is_made_again(
    cluster: Cluster, servers: FakeServers, clock: Clock
) -> None:
    look(cluster)
    servers.asked.clear()
    cluster.make_current("r1", is_watched=False)
    assert servers.asked == []
    clock.now += CURRENT + 0.1
    cluster.make_current("r1", is_watched=False)
    assert servers.asked == ["default", "r1"]


def test_age_of_a_replica__bounds_its_lag_where_no_position_is_old_enough() -> None:
    config = ClusterConfig("default", (ReplicaConfig("r1"),), max_lag=5)
    health = ReplicaHealth(config, Surroundings())
    health.sample(at(100))
    for age, state in ((4.0, "up"), (6.0, "lagging"), (None, "lagging")):
        health.learn("r1", Position("a", {"": 50}, age), 0)
        assert (health.lag("r1"), health.state("r1")) == (age, state)
    health.learn("r1", Position("b", {"": 150}, 0.0), 0)
    assert (health.lag("r1"), health.state("r1")) == (None, "lagging")


def test_max_lag_none__lets_nobody_lag(make: Any, servers: FakeServers) -> None:
    cluster = make(max_lag=None)
    servers.logs.update(r1=None, r2=None)
    look(cluster)
    assert ready(cluster.health) == ["r1", "r2"]


# -- decisions --------------------------------------------------------------------------


def test_no_replica__falls_back_to_the_primary(cluster: Cluster) -> None:
    cluster.health.eject("r1")
    cluster.health.eject("r2")
    decision = cluster.decide_read(Scope(), never)
    assert (decision.alias, decision.reason) == ("default", "no replica qualifies")
    assert cluster.take_turn() == "default"


def test_no_replica__is_an_error_where_the_user_says_so(make: Any) -> None:
    cluster = make(fallback="error")
    cluster.health.eject("r1")
    cluster.health.eject("r2")
    for ask in (lambda: cluster.decide_read(Scope(), never), cluster.take_turn):
        with pytest.raises(NoReplica, match="r1 ejected, r2 ejected"):
            ask()


def test_drained_replica__is_not_read_until_it_is_taken_in_again(
    cluster: Cluster, servers: FakeServers
) -> None:
    scope = Scope()
    assert cluster.decide_read(scope, never).alias == "r1"
    cluster.health.drain({"r1"})
    assert cluster.health.state("r1") == "drained"
    assert {cluster.decide_read(scope, never).alias for _ in range(3)} == {"r2"}
    assert {cluster.take_turn() for _ in range(3)} == {"r2"}
    look(cluster, "r1")
    assert servers.asked == []  # it may be under repair
    cluster.health.drain({"r1", "r2"})
    assert cluster.take_turn() == "default"
    cluster.health.drain(())
    assert ready(cluster.health) == ["r1", "r2"]


@pytest.mark.parametrize("why", ["fails", "lags"])
def test_scope__leaves_its_replica_where_that_may_not_be_read(
    cluster: Cluster, servers: FakeServers, why: str
) -> None:
    scope = Scope()
    assert {cluster.decide_read(scope, never).alias for _ in range(3)} == {"r1"}
    if why == "fails":
        cluster.health.eject("r1")
    else:
        servers.logs["r1"] = 50
        look(cluster)
    assert {cluster.decide_read(scope, never).alias for _ in range(3)} == {"r2"}


def test_scope_that_wrote__reads_from_the_primary_until_its_end(
    cluster: Cluster, clock: Clock
) -> None:
    class Connection:
        goes_on = False

    scope = Scope(clock=clock)
    cluster.note_write(scope, Connection())
    clock.now += 3600
    decision = cluster.decide_read(scope, never)
    assert (decision.alias, decision.reason) == ("default", "wrote in this scope")


def wanting(position: Position, written_at: float = 0.0) -> Scope:
    scope = Scope()
    scope.positions["default"] = (position, written_at)
    return scope


def test_position__that_is_known_to_be_reached_asks_nothing(
    cluster: Cluster, servers: FakeServers
) -> None:
    servers.logs["r1"] = 90
    look(cluster)
    servers.asked.clear()
    for _ in range(4):
        scope = wanting(at(95))
        assert cluster.decide_read(scope, never).alias == "r2"
        assert cluster.choose_caught_up(scope, "r2").alias == "r2"
    assert servers.asked == []


def test_position__is_asked_for_once_and_known_then(cluster: Cluster, servers: FakeServers) -> None:
    scope = wanting(at(100))
    alias = cluster.decide_read(scope, never).alias
    assert servers.asked == []  # never in the decision
    assert cluster.choose_caught_up(scope, alias).alias == alias
    assert cluster.choose_caught_up(scope, alias).alias == alias
    assert servers.asked == [alias]


def test_position__is_sought_on_another_replica_then_on_the_primary(
    cluster: Cluster, servers: FakeServers, clock: Clock
) -> None:
    servers.logs["r1"] = 90
    scope = wanting(at(100))
    assert cluster.decide_read(scope, never).alias == "r1"
    assert cluster.choose_caught_up(scope, "r1").alias == "r2"
    assert cluster.decide_read(scope, never).alias == "r2"
    servers.logs["r2"] = 95
    began, scope = clock.now, wanting(at(101))
    assert (
        cluster.choose_caught_up(scope, cluster.decide_read(scope, never).alias).alias == "default"
    )
    assert clock.now - began <= WAIT
    decision = cluster.decide_read(scope, never)
    assert (decision.alias, decision.reason) == (
        "default",
        "no replica has the user's writes yet",
    )


def test_position__is_waited_for_a_little(
    cluster: Cluster, servers: FakeServers, clock: Clock
) -> None:
    servers.logs.update(r1=90, r2=90)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        servers.logs["r2"] = 100

    assert cluster.prober is not None
    cluster.prober._sleep = sleep
    scope = wanting(at(100))
    assert cluster.choose_caught_up(scope, cluster.decide_read(scope, never).alias).alias == "r2"


def test_position__is_not_waited_for_where_replicas_lag(
    cluster: Cluster, servers: FakeServers, clock: Clock
) -> None:
    look(cluster)
    clock.now += 5
    servers.logs["default"] = 200
    look(cluster)
    clock.now += 5
    look(cluster)
    began, scope = clock.now, wanting(at(200))
    assert (
        cluster.choose_caught_up(scope, cluster.decide_read(scope, never).alias).alias == "default"
    )
    assert clock.now == began


def test_position__of_a_history_that_is_over_pins(
    cluster: Cluster, servers: FakeServers, clock: Clock
) -> None:
    servers.epoch = "b"
    look(cluster)
    for age, found in ((1, "default"), (9, "default"), (10, "r1")):
        scope = wanting(at(50), clock.now - age)
        assert cluster.choose_caught_up(scope, "r1").alias == found
        assert scope.positions == {}


def test_position__of_a_history_that_nobody_saw_begin_is_not_dropped(
    cluster: Cluster, servers: FakeServers
) -> None:
    """The cluster was promoted while this process did not read: the position is the newer one."""
    look(cluster)
    servers.epoch = "b"
    servers.asked.clear()
    scope = wanting(at(100, "b"), time.time())
    assert cluster.choose_caught_up(scope, "r1").alias == "r1"
    assert servers.asked == ["default", "r1"]
    assert scope.positions["default"][0] == at(100, "b")


@pytest.mark.parametrize("trouble", [ServerFailed("down"), NotAsked()])
def test_position__is_not_dropped_while_the_primary_cannot_be_asked(
    cluster: Cluster, servers: FakeServers, trouble: Exception
) -> None:
    look(cluster)
    servers.epoch = "b"
    servers.logs["default"] = trouble
    scope = wanting(at(100, "b"), time.time())
    assert cluster.choose_caught_up(scope, "r1").alias == "r1"
    assert scope.positions != {}


def test_position__that_is_over_may_be_found_out_by_two_threads_at_once(
    cluster: Cluster, servers: FakeServers
) -> None:
    scope = wanting(at(50), time.time())
    assert cluster.prober is not None
    look(cluster)
    servers.epoch = "b"

    class Positions(dict[str, Any]):
        """In which the other thread is always as far as this one."""

        meet = threading.Barrier(2)

        def get(self, *key: Any) -> Any:
            found = super().get(*key)
            self.meet.wait(20)
            return found

    scope.positions = Positions(scope.positions)
    look(cluster)
    tasks = [Task(cluster.choose_caught_up, scope, "r1") for _ in range(2)]
    assert [task.result().alias for task in tasks] == ["default"] * 2
    assert scope.positions == {}


def test_using_replica__needs_no_position(cluster: Cluster, servers: FakeServers) -> None:
    scope = wanting(at(999))
    with Using("replica", None):
        alias = cluster.decide_read(scope, never).alias
        assert cluster.choose_caught_up(scope, alias).alias == alias
    assert servers.asked == []
    assert (
        cluster.choose_caught_up(scope, cluster.decide_read(scope, never).alias).alias == "default"
    )


def test_replica_that_may_have_restarted__must_prove_itself_anew(
    cluster: Cluster, servers: FakeServers
) -> None:
    look(cluster)
    assert cluster.health.has_reached("r1", at(100))
    run = cluster.health.run("r1")
    cluster.health.forget("r1")  # a new connection
    assert not cluster.health.has_reached("r1", at(100))
    cluster.health.learn("r1", at(100), run)  # an answer from before
    assert not cluster.health.has_reached("r1", at(100))
    look(cluster)
    assert cluster.health.has_reached("r1", at(100))


def test_lower_answer__counts_too(cluster: Cluster, servers: FakeServers) -> None:
    look(cluster)
    servers.logs["r1"] = 10
    look(cluster)
    assert not cluster.health.has_reached("r1", at(100))


def test_questions__of_many_at_once_are_one(make: Any, servers: FakeServers) -> None:
    import time

    cluster = make()
    assert cluster.prober is not None
    cluster.prober._clock, cluster.prober._sleep = time.monotonic, time.sleep
    asked, answer = threading.Event(), threading.Event()
    ask = cluster.prober.ask

    def slowly(alias: str) -> bool:
        asked.set()
        assert answer.wait(20)
        return ask(alias)

    cluster.prober.ask = slowly
    first = Task(cluster.prober.find, at(100), "r1")
    assert asked.wait(20)
    others = [Task(cluster.prober.find, at(100), "r1") for _ in range(5)]
    eventually(lambda: all(task.is_alive() for task in others))
    answer.set()
    assert first.result() == "r1"
    assert {task.result() for task in others} <= {"r1", "r2"}
    assert servers.asked.count("r1") == 1


@pytest.mark.parametrize(
    ("tried", "target"),
    [({"r1"}, "r2"), ({"r1", "r2"}, "default"), ({"r1", "r2", "default"}, None)],
)
def test_elsewhere__is_another_replica_then_the_primary(
    cluster: Cluster, tried: set[str], target: str | None
) -> None:
    assert cluster.elsewhere(Scope(), tried) == target


def test_elsewhere__has_what_the_scope_must_see(cluster: Cluster, servers: FakeServers) -> None:
    servers.logs["default"] = 90
    look(cluster)
    servers.logs.update(default=100, r2=90)
    look(cluster)
    assert cluster.elsewhere(wanting(at(100)), {"r1"}) == "default"
    assert cluster.elsewhere(wanting(at(90)), {"r1"}) == "r2"


def test_elsewhere__is_nowhere_if_the_primary_must_not_be_read(make: Any) -> None:
    assert make(fallback="error").elsewhere(Scope(), {"r1", "r2"}) is None
