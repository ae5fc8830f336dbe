"""manage.py poolcheck: whether each database answers, and is what the settings say."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_poolrouter import conf
from django_poolrouter.status.inspection import Budget, Inspection, inspect
from django_poolrouter.status.report import VERSION
from django_poolrouter.status.table import align, seconds

HEADING = ("ALIAS", "ROLE", "SERVER", "FOUND", "LATENCY", "LAG", "BUDGET", "STATE")


class Command(BaseCommand):
    """Connects to each database through its pool and reports what it finds."""

    help = "Connects to each database through its pool; exits with 1 if one is unhealthy."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--database", metavar="ALIAS", help="Only this database.")
        parser.add_argument("--json", action="store_true", help="Print a JSON document.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Inspect, print and exit accordingly."""
        alias = options["database"]
        if alias is not None and alias not in conf.databases():
            raise CommandError(f"Database {alias!r} not configured.")
        found = inspect(alias)
        if options["json"]:
            databases = [{**asdict(one), "healthy": one.healthy} for one in found]
            content = {"version": VERSION, "databases": databases}
            self.stdout.write(json.dumps(content, indent=2))
        else:
            self._print(found)
        if not all(one.healthy for one in found):
            sys.exit(1)

    def _print(self, found: list[Inspection]) -> None:
        heading, *lines = align([HEADING, *map(_row, found)])
        self.stdout.write(self.style.MIGRATE_HEADING(heading))
        for one, line in zip(found, lines, strict=True):
            self.stdout.write(line if one.healthy else self.style.ERROR(line))
        for one in found:
            if one.error:
                self.stdout.write(self.style.ERROR(f"{one.alias}: {one.error}"))


def _row(one: Inspection) -> tuple[str, ...]:
    return (
        one.alias,
        one.role,
        one.server or "-",
        one.found or "-",
        "-" if one.latency_ms is None else f"{one.latency_ms:.2f}ms",
        "-" if one.lag_s is None else seconds(one.lag_s),
        _budget(one.budget),
        "ok" if one.healthy else "unhealthy",
    )


def _budget(budget: Budget | None) -> str:
    if budget is None or budget.limit is None:
        return "-"
    return f"{budget.needed} of {budget.limit} by {budget.processes} proc."
