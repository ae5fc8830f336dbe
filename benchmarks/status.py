"""What it costs that other processes see a pool's figures: a request with that and without.

The pool without is compiled from the same source, less what stores a word for others.
"""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.hold import ENGINES
from benchmarks.rounds import compare, nanoseconds, ratio, verdict

TIMES = 2000
ROUNDS = 25


def lines(vendor: str, server: dict[str, str]) -> Iterator[str]:
    """Measure both in turns, in a process of their own."""
    database = {**server, "ENGINE": ENGINES[vendor]}
    command = [sys.executable, "-m", "benchmarks.status", json.dumps(database)]
    shown, hidden = json.loads(subprocess.check_output(command, text=True))
    cost = ratio(shown, hidden) - 1
    yield verdict(f"{vendor}, status of the time of a request without", cost, 0.1)


class _WithoutWords(ast.NodeTransformer):
    """Takes out the stores into a cell."""

    def __init__(self) -> None:
        self.stores = 0

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        kept = [target for target in node.targets if not _is_word(target)]
        self.stores += len(node.targets) - len(kept)
        node.targets = kept
        return node if kept else ast.copy_location(ast.Pass(), node)


def _is_word(target: ast.expr) -> bool:
    return isinstance(target, ast.Subscript) and ast.unparse(target.value).endswith("cell")


def pool_without_words() -> Any:
    """Return the class of a pool that tells others nothing of its leases."""
    from django_poolrouter.pooling import pool

    transformer = _WithoutWords()
    tree = transformer.visit(ast.parse(inspect.getsource(pool)))
    if transformer.stores < 3:
        raise RuntimeError("the pool stores its words in another way now: see _is_word")
    namespace = {"__name__": pool.__name__, "__package__": pool.__package__}
    exec(compile(tree, pool.__file__, "exec"), namespace)  # noqa: S102
    return namespace["Pool"]


def measure(database: dict[str, Any]) -> list[list[float]]:
    """Return the nanoseconds of a request in each round, with and without."""
    import django
    from django.conf import settings

    settings.configure(
        DATABASES={"default": database, "hidden": database},
        INSTALLED_APPS=["django_poolrouter"],
        SECRET_KEY="for the benchmark",
    )
    django.setup()
    from django_poolrouter.process import database_pool
    from django_poolrouter.status.report import collect

    contestants = {"default": _request("default")}
    database_pool.Pool = pool_without_words()
    contestants["hidden"] = _request("hidden")
    uses = {pool.alias: pool.status.checkouts for pool in collect().pools}
    if not uses["default"] or uses["hidden"]:
        raise RuntimeError(f"not what was to be compared: {uses}")
    found = compare({n: lambda r=r: nanoseconds(r, TIMES) for n, r in contestants.items()}, ROUNDS)
    return list(found.values())


def _request(alias: str) -> Callable[[], None]:
    """Return what Django does around a view; it was done some times already."""
    from django.db import connections

    connection = connections[alias]

    def request() -> None:
        connection.ensure_connection()
        connection.close_if_unusable_or_obsolete()

    nanoseconds(request, TIMES)
    return request


if __name__ == "__main__":
    json.dump(measure(json.loads(sys.argv[1])), sys.stdout)
