"""Run all benchmarks and print what was found; exits with 1 if a limit is missed."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from benchmarks import (
    contention,
    hold,
    pool_alone,
    routing,
    session_state,
    spike,
    status,
    through_django,
)
from tests.servers import MariadbCluster, PostgresqlCluster


def main() -> int:
    missed = 0
    missed += show("The pool alone", pool_alone.lines())
    missed += show("A spike", spike.lines())
    missed += show("The router", routing.lines())
    missed += show("Session state, SQLite", session_state.lines("sqlite3", {}))
    for vendor, cluster in (
        ("postgresql", PostgresqlCluster(replicas=0)),
        ("mariadb", MariadbCluster(replicas=0)),
    ):
        with cluster:
            cluster.create_database("bench")
            server = cluster.settings("primary", name="bench")
            missed += show(f"Through Django, {vendor}", through_django.lines(vendor, server))
            missed += show(f"Contention, {vendor}", contention.lines(vendor, server))
            missed += show(f"Status, {vendor}", status.lines(vendor, server))
            missed += show(f"200 threads, {vendor}", hold.lines(vendor, server))
            engine = {"mariadb": "mysql"}.get(vendor, vendor)
            missed += show(f"Session state, {vendor}", session_state.lines(engine, server))
    return 1 if missed else 0


def show(title: str, lines: Iterable[str]) -> int:
    """Print lines as they come; returns how many limits were missed."""
    print(f"\n{title}", flush=True)
    missed = 0
    for line in lines:
        print(line, flush=True)
        missed += line.startswith("MISS")
    return missed


if __name__ == "__main__":
    sys.exit(main())
