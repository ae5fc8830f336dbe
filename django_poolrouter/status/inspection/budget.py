"""How many of a server's connections the pools may take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ... import conf

if TYPE_CHECKING:
    from ...drivers.facts import Limit, ServerFacts


@dataclass(frozen=True, slots=True)
class Budget:
    """One limit of a server, and how much of it the pools may need."""

    limit: int
    name: str
    """The source of the limit, in the server's words."""
    aliases: tuple[str, ...]
    """The pooled databases whose connections count towards the limit."""
    per_process: int
    """The sum of their size + overflow."""
    processes: int

    @property
    def needed(self) -> int:
        """The connections that are open when the pools of every process are full."""
        return self.processes * self.per_process

    @property
    def fits(self) -> bool:
        """Tell whether these pools alone can never exceed the limit."""
        return self.needed <= self.limit

    def __str__(self) -> str:
        return (
            f"{self.processes} x {self.per_process} ({' + '.join(self.aliases)}) = {self.needed} "
            f"of {self.limit} ({self.name})"
        )


def budgets(alias: str, facts: Mapping[str, ServerFacts], processes: int) -> list[Budget]:
    """Return the budgets that a database is part of, the tightest first.

    Args:
        alias: the database.
        facts: what each server that was asked said of itself, by alias.
        processes: how many processes have pools.

    """
    found = [_budget(alias, limit, facts, processes) for limit in facts[alias].limits]
    return sorted(found, key=lambda budget: budget.limit - budget.needed)


def _budget(alias: str, limit: Limit, facts: Mapping[str, ServerFacts], processes: int) -> Budget:
    shares = dict(_shares(alias, limit, facts))
    return Budget(limit.connections, limit.name, tuple(shares), sum(shares.values()), processes)


def _shares(
    alias: str, limit: Limit, facts: Mapping[str, ServerFacts]
) -> Iterator[tuple[str, int]]:
    """Yield each database that counts towards the limit, and its connections in one process."""
    databases = conf.databases()
    same = {"server": (), "account": ("USER",), "database": ("NAME",)}[limit.shared_by]
    for other, of_other in facts.items():
        if of_other.identity != facts[alias].identity:
            continue
        if any(databases[other][key] != databases[alias][key] for key in same):
            continue
        config = conf.pool_config_or_none(other, databases[other])
        if config is not None:
            yield other, config.max
