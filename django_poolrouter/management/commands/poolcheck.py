"""manage.py poolcheck: checks that each database answers and matches the settings."""

from __future__ import annotations

import json
import math
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_poolrouter import conf
from django_poolrouter.status.inspection.budget import Budget
from django_poolrouter.status.inspection.servers import Inspection, inspect
from django_poolrouter.status.report import VERSION
from django_poolrouter.status.table import align, seconds

HEADING = ("ALIAS", "ROLE", "SERVER", "FOUND", "CONNECT", "PING", "LAG", "BUDGET", "STATE")


class Command(BaseCommand):
    """Connects to each database through its pool and reports what it finds."""

    help = "Connects to each database through its pool; exits with 1 if one is unhealthy."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--database", metavar="ALIAS", help="Only this database.")
        parser.add_argument("--json", action="store_true", help="Print a JSON document.")
        parser.add_argument(
            "--processes",
            type=int,
            metavar="N",
            help="Number of processes with pools on all hosts, for the budget; by default "
            "those that live on this host.",
        )
        parser.add_argument(
            "--observe",
            type=float,
            default=1.0,
            metavar="SECONDS",
            help="How long to watch the pools in use, for advice on their size; 1 by default.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Inspect the databases and print the result; exit with 1 if one is unhealthy."""
        alias = options["database"]
        if alias is not None and alias not in conf.databases():
            raise CommandError(f"Database {alias!r} not configured.")
        if options["processes"] is not None and options["processes"] < 1:
            raise CommandError("--processes takes a number above 0.")
        if not 0 <= options["observe"] < math.inf:
            raise CommandError("--observe takes a number of seconds, or 0 to skip it.")
        found = inspect(alias, options["processes"], options["observe"])
        if options["json"]:
            databases = list(map(_document, found))
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
            for warning in one.warnings:
                self.stdout.write(self.style.WARNING(f"{one.alias}: {warning}"))
            for advice in one.advice:
                self.stdout.write(f"{one.alias}: {advice}")


def _row(one: Inspection) -> tuple[str, ...]:
    return (
        one.alias,
        one.role,
        one.server or "-",
        one.found or "-",
        _milliseconds(one.connect_ms),
        _milliseconds(one.latency_ms),
        "-" if one.lag_s is None else seconds(one.lag_s),
        _budget(one.budgets),
        "ok" if one.healthy else "unhealthy",
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}ms"


def _budget(budgets: tuple[Budget, ...]) -> str:
    return f"{budgets[0].needed} of {budgets[0].limit}" if budgets else "-"


def _document(one: Inspection) -> dict[str, Any]:
    budgets = [{**asdict(b), "needed": b.needed, "fits": b.fits} for b in one.budgets]
    return {**asdict(one), "budgets": budgets, "healthy": one.healthy}
