"""manage.py poolstatus: the pools of all live processes of the project on this host."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_poolrouter import conf
from django_poolrouter.process.health import PoolHealthMonitor
from django_poolrouter.status.boards.folders import readable_folders
from django_poolrouter.status.document import document
from django_poolrouter.status.inspection.sessions import with_sessions
from django_poolrouter.status.rates import Rates, rates
from django_poolrouter.status.report import Report, collect
from django_poolrouter.status.table import align, connection_rows, pool_rows, process_rows

CLEAR = "\x1b[H\x1b[2J"


class Command(BaseCommand):
    """Shows what processes report of their pools; connects to databases only if asked to."""

    help = "Shows the connection pools of all live processes of this project on this host."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--database", metavar="ALIAS", help="Only this database.")
        parser.add_argument("--json", action="store_true", help="Print a JSON document.")
        parser.add_argument(
            "--watch",
            nargs="?",
            type=float,
            const=2.0,
            metavar="SECONDS",
            help="Repeat until interrupted, every 2 seconds by default.",
        )
        parser.add_argument(
            "--processes", action="store_true", help="Also a row for each pool of each process."
        )
        parser.add_argument(
            "--connections", action="store_true", help="Also a row for each open connection."
        )
        parser.add_argument(
            "--server",
            action="store_true",
            help="Like --connections, but also connects to the servers and asks what each "
            "connection is doing there.",
        )
        parser.add_argument(
            "--fail-on",
            choices=("waiting", "exhausted", "unhealthy"),
            help="Exit with 1 if callers wait (waiting), if they wait and the pool is full "
            "(exhausted), or if a database does not answer (unhealthy).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the report, once or repeatedly."""
        alias = options["database"]
        if alias is not None and alias not in conf.databases():
            raise CommandError(f"Database {alias!r} not configured.")
        if options["watch"] is not None:
            if not 0 < options["watch"] < math.inf:
                raise CommandError("--watch takes a number of seconds above 0.")
            if options["fail_on"]:
                raise CommandError(
                    "--fail-on judges a single report, so it cannot be used with --watch."
                )
        if os.environ.get("NO_COLOR") and not options["force_color"]:
            self.style = type(self.style)()  # a style without colours
        try:
            report = self._show(options, None)
            while options["watch"] is not None:
                self.stdout.flush()  # A pipe would otherwise hold the report back.
                time.sleep(options["watch"])
                report = self._show(options, report)
            self.stdout.flush()
        except KeyboardInterrupt:
            return
        except BrokenPipeError:
            # The reader closed the pipe, as `head` does.  The interpreter flushes once more at
            # exit, and must not fail then.  With call_command(stdout=...) the pipe is the caller's,
            # and the standard output of its process must stay as it is.
            if options.get("stdout") is None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        if self._has_failed(report, options["fail_on"]):
            sys.exit(1)

    def _has_failed(self, report: Report, condition: str | None) -> bool:
        if condition == "waiting":
            return any(pool.status.waiting for pool in report.pools)
        if condition == "exhausted":
            return any(pool.state == "exhausted" for pool in report.pools)
        return condition == "unhealthy" and not self._all_healthy(report)

    def _all_healthy(self, report: Report) -> bool:
        """Ask each database, and print an error for those that do not answer."""
        found = {pool.alias: PoolHealthMonitor(pool.alias).check_health() for pool in report.pools}
        for alias, health in found.items():
            if not health.healthy:
                self.stderr.write(self.style.ERROR(f"{alias}: {health.error_message}"))
        return all(health.healthy for health in found.values())

    def _show(self, options: dict[str, Any], before: Report | None) -> Report:
        alias = options["database"]
        report = collect(alias)
        if alias is not None and not report.pools:
            raise CommandError(f"Database {alias!r} is not pooled.")
        speeds: dict[str, Rates] | None = None if options["watch"] is None else {}
        if before is not None:
            speeds = rates(before, report)
        if options["server"]:
            report = with_sessions(report)
        if options["json"]:
            indent = None if options["watch"] else 2
            connections = options["connections"] or options["server"]
            content = document(report, connections=connections, rates=speeds)
            self.stdout.write(json.dumps(content, indent=indent))
            return report
        if options["watch"] and self.stdout.isatty():
            self.stdout.write(CLEAR, ending="")
        self._print_tables(report, options, speeds)
        return report

    def _print_tables(
        self, report: Report, options: dict[str, Any], speeds: dict[str, Rates] | None
    ) -> None:
        tables = [pool_rows(report, speeds)]
        if options["processes"]:
            tables.append(process_rows(report))
        if options["connections"] or options["server"]:
            tables.append(connection_rows(report, server=options["server"]))
        for rows in tables:
            heading, *lines = align(rows)
            self.stdout.write(self.style.MIGRATE_HEADING(heading))
            for row, line in zip(rows[1:], lines, strict=True):
                self.stdout.write(self._paint(row[-1], line))
            self.stdout.write("")
        for warning in report.warnings:
            self.stdout.write(self.style.WARNING(f"warning: {warning}"))
        self.stdout.write(self._summary(report))

    def _paint(self, state: str, line: str) -> str:
        if state in ("exhausted", "waiting", "ejected"):
            return self.style.ERROR(line)
        return self.style.WARNING(line) if state in ("busy", "lagging") else line

    def _summary(self, report: Report) -> str:
        count = len(report.processes)
        if count:
            noun = "process" if count == 1 else "processes"
            time_ = report.generated_at.astimezone().strftime("%H:%M:%S")
            return f"{count} live {noun} on {report.host} at {time_}"
        folders = ", ".join(map(str, readable_folders())) or "no folder"
        return (
            f"No live process of this project on {report.host} has opened a pool "
            f"(looked in {folders}; processes of another user are visible to that user and root)."
        )
