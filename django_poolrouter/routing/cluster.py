"""A cluster decides which alias a read goes to, and why."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence

from . import reasons
from .balancers import Balancer, Candidate
from .config import ClusterConfig
from .decision import Chosen, Decision
from .logs import NoReplica, NotAsked, ServerFailed
from .prober import Prober
from .replica_health import ReplicaHealth
from .scopes import Scope, Transaction
from .surroundings import Surroundings, nothing
from .using import wish

NOWHERE = Surroundings()
_LEFT = {"ejected": reasons.LOST, "drained": reasons.DRAINED}


class Cluster:
    """A primary and its replicas.

    Args:
        config: its settings.
        balancer: chooses among the replicas.
        surroundings: its servers, clocks and listeners.
        on_fall_back: called with the cluster each time that no replica qualifies for a read.

    """

    def __init__(
        self,
        config: ClusterConfig,
        balancer: Balancer,
        surroundings: Surroundings = NOWHERE,
        on_fall_back: Callable[[Cluster], object] = nothing,
    ) -> None:
        self.config = config
        self.primary = config.primary
        self.replicas = tuple(replica.alias for replica in config.replicas)
        self.aliases = frozenset((self.primary, *self.replicas))
        # Seconds for which a write keeps reads on the primary.  With positions they stay there
        # until the scope ends, and these seconds count only where no position is known.
        pins = config.read_your_writes != "off" and self.replicas
        self.pin_seconds = config.pin_seconds if pins else 0.0
        self.uses_positions = bool(
            surroundings.tells_positions and self.replicas and config.read_your_writes == "position"
        )
        # Seconds for a pin that replaces an unknown position.  A replica may be MAX_LAG behind,
        # so a shorter pin would let users miss their own writes.
        self.blind_seconds = self.pin_seconds
        if self.uses_positions:
            self.blind_seconds = max(self.pin_seconds, config.max_lag or 0.0)
        self.health = ReplicaHealth(config, surroundings)
        """What this process knows about the replicas."""
        self.prober: Prober | None = None
        """Asks the servers for their positions; None if they cannot be asked."""
        if surroundings.servers is not None:
            self.prober = Prober(
                self.primary, self.health, surroundings.servers, surroundings.clock
            )
        self._wall_clock = surroundings.wall_clock
        self._balancer = balancer
        self._on_fall_back = on_fall_back
        self._turns = itertools.count(surroundings.first_turn)
        self._prepare_decisions()

    def _prepare_decisions(self) -> None:
        """Make all possible decisions once: creating one takes longer than choosing one."""
        primary = self.primary
        # For models that are never read from a replica.
        self.always_primary = Decision(primary, reasons.ALWAYS_PRIMARY)
        self.session = Decision(primary, reasons.SESSION)
        self.package = Decision(primary, reasons.PACKAGE)
        self.historical = Decision(primary, reasons.HISTORICAL)
        self.not_listed = Decision(primary, reasons.NOT_LISTED)
        """For a test that may not use the replica."""
        self.block = Decision(primary, reasons.BLOCK)
        """For statements on a replica's alias under which a transaction on the primary began."""
        self.generic = Decision(primary, reasons.GENERIC)
        """For models that are read through a generic relation."""
        self._alone = Decision(primary, reasons.NO_REPLICAS)
        self._wished = Decision(primary, reasons.USING_PRIMARY)
        self._in_transaction = Decision(primary, reasons.TRANSACTION)
        self._unsafe = Decision(primary, reasons.UNSAFE)
        self._wrote = Decision(primary, reasons.WROTE)
        self._pinned = Decision(primary, reasons.PINNED)
        self._not_reached = Decision(primary, reasons.NOT_REACHED)
        self._none_qualifies = Decision(primary, reasons.NONE_QUALIFIES)
        self._balanced = {a: Decision(Chosen(a), reasons.BALANCED) for a in self.replicas}
        self._asked_for = {a: Decision(a, reasons.USING_REPLICA) for a in self.replicas}
        self._followed = {a: Decision(Chosen(a), reasons.FOLLOWED) for a in self.replicas}

    def __repr__(self) -> str:
        return f"<Cluster {self.primary!r} replicas={list(self.replicas)}>"

    # -- reads -----------------------------------------------------------------------------

    def decide_read(self, scope: Scope, in_transaction: Callable[[str], bool]) -> Decision:
        """Return where a read goes; a second call before the query runs gives the same answer.

        Args:
            scope: what the caller did before.
            in_transaction: tells whether the primary's connection is in a transaction.

        Raises:
            NoReplica: no replica may be read, and FALLBACK is "error".

        """
        primary = self.primary
        wanted = wish(primary)
        if wanted == "primary":
            return self._wished
        if not self.replicas:
            return self._alone
        if wanted == "replica":
            return self._choose(scope, self._asked_for)
        if in_transaction(primary):
            return self._in_transaction
        if scope.is_unsafe and wanted is None and self.config.unsafe_methods == "primary":
            scope.note_unsafe_read(primary)
            return self._unsafe
        if primary in scope.wrote and scope.sticky and self.uses_positions:
            return self._wrote
        if self.blind_seconds and scope.pinned_for(primary, self.pin_seconds):
            return self._pinned
        if scope.positions and primary in scope.positions:
            return self._follow(scope)
        return self._choose(scope, self._balanced)

    def _choose(self, scope: Scope, decisions: dict[str, Decision]) -> Decision:
        """Use the scope's replica while it may be read, else the next one in turn."""
        health = self.health
        alias = scope.choice(self.primary)
        if alias is not None:
            if health.may_be_read(alias):
                return decisions[alias]
            scope.drop_choice(self.primary)
        if not health.ready:
            return self._fall_back()
        return decisions[scope.choose(self.primary, self._next(health.ready))]

    def _follow(self, scope: Scope) -> Decision:
        """Use a replica that is known to have reached the scope's position; ask no server.

        ``choose_caught_up`` makes sure before the statement runs.  From then on the choice holds
        for the whole scope.  Otherwise a later read could show older rows than an earlier one.
        """
        if scope.choice(self.primary) == self.primary:
            return self._not_reached
        if scope.choice(self.primary) is None:
            ready = self._caught_up(scope)
            if ready:
                scope.choose(self.primary, self._next(ready))
        return self._choose(scope, self._followed)

    def make_current(self, alias: str, *, is_watched: bool) -> None:
        """Find out how far a replica is behind, if no look at it is current.

        Args:
            alias: the replica.
            is_watched: whether the monitor looks at the primary about now.

        """
        prober = self.prober
        if prober and self.config.max_lag is not None and not prober.is_current(alias):
            prober.make_current(alias, is_watched=is_watched)

    def choose_caught_up(self, scope: Scope, alias: str, *, is_watched: bool = False) -> Decision:
        """Return where a read sees what it must see; may ask replicas and wait briefly.

        It must see what the scope knows of, and what is older than MAX_LAG.

        Args:
            scope: the scope of the read.
            alias: the replica that was chosen for the read.
            is_watched: whether the monitor looks at the primary about now.

        Raises:
            NoReplica: no replica may be read, and FALLBACK is "error".

        """
        if wish(self.primary) == "replica":
            return self._followed[alias]
        if self.primary in scope.wrote and scope.sticky:
            # The scope wrote after the replica was chosen.  raw() is routed when it is created,
            # not when it runs.  Some lookups follow the ``_state.db`` of an object read earlier.
            if self.uses_positions:
                return self._wrote
            if scope.pinned_for(self.primary, self.pin_seconds):
                return self._pinned
        wanted = scope.positions.get(self.primary)
        if wanted is None or self.prober is None:
            return self._choose_ready(scope, alias, is_watched=is_watched)
        position, written_at = wanted
        if self._is_over(position.epoch, self.prober):
            # The position belongs to a history that has ended, for example by a promotion.  No
            # server can compare it with its own position, so a pin replaces it.
            scope.positions.pop(self.primary, None)
            scope.pin(self.primary, max(0.0, written_at + self.blind_seconds - self._wall_clock()))
            found = self.primary if scope.pinned_for(self.primary, self.pin_seconds) else alias
        else:
            found = self.prober.find(position, alias) or self.primary
        if found != alias and alias == scope.choice(self.primary):
            scope.drop_choice(self.primary)
            scope.choose(self.primary, found)
        if found != self.primary:
            return self._followed[found]
        return self._not_reached if self.primary in scope.positions else self._pinned

    def _choose_ready(self, scope: Scope, alias: str, *, is_watched: bool) -> Decision:
        """Stay on a replica unless it may not be read any more, for example because it lags."""
        decision = self._followed[alias]
        for _ in self.replicas:
            alias = decision.alias
            if alias == self.primary or self.health.may_be_read(alias):
                break
            why = _LEFT.get(self.health.state(alias), reasons.LAGS)
            if alias == scope.choice(self.primary):
                scope.drop_choice(self.primary)
            decision = Decision(self._choose(scope, self._balanced).alias, why)
            if decision.alias != self.primary:
                self.make_current(decision.alias, is_watched=is_watched)
        return decision

    def _is_over(self, epoch: str, prober: Prober) -> bool:
        """Tell whether the primary now writes another history; ask it before returning True."""
        if self.health.epoch in (None, epoch):
            return False
        # Perhaps the primary was not asked since a promotion, and the scope's epoch is the newer.
        try:
            prober.written()
        except (ServerFailed, NotAsked):
            return False  # then the answers of the replicas decide
        return self.health.epoch != epoch

    def _caught_up(self, scope: Scope) -> list[Candidate]:
        """Return the replicas that are known to have what the scope must see."""
        health, wanted = self.health, scope.positions.get(self.primary)
        if wanted is None:
            return list(health.ready)
        return [c for c in health.ready if health.has_reached(c.alias, wanted[0])]

    def elsewhere(self, scope: Scope, tried: Collection[str]) -> str | None:
        """Return the alias to send a failed read to; None if no alias is left.

        Args:
            scope: the scope of the read.
            tried: the aliases where it failed.

        """
        others = [c for c in self._caught_up(scope) if c.alias not in tried]
        if others:
            return self._next(others)
        if self.primary in tried or self.config.fallback == "error":
            return None
        return self.primary

    def take_turn(self) -> str:
        """Return the next replica in turn, without a scope; the primary if none qualifies.

        Raises:
            NoReplica: no replica may be read, and FALLBACK is "error".

        """
        if not self.replicas:
            return self.primary
        ready = self.health.ready
        return self._next(ready) if ready else self._fall_back().alias

    def _next(self, candidates: Sequence[Candidate]) -> str:
        return self._balancer(candidates, next(self._turns)).alias

    def _fall_back(self) -> Decision:
        self._on_fall_back(self)
        if self.config.fallback == "error":
            states = ", ".join(f"{alias} {self.health.state(alias)}" for alias in self.replicas)
            raise NoReplica(f"no replica of {self.primary!r} may be read: {states}")
        return self._none_qualifies

    # -- models and writes ------------------------------------------------------------------

    def note_write(self, scope: Scope, transaction: Transaction) -> None:
        """Note in the scope that a statement ran on the primary and may have written."""
        if self.pin_seconds or self.uses_positions:
            scope.note_write(self.primary, self.pin_seconds, transaction)
