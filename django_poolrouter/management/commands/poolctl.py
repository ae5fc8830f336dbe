"""manage.py poolctl: gives an instruction to all live processes on this host."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_poolrouter import conf
from django_poolrouter.status.boards import control
from django_poolrouter.status.report import ProcessReport, Report, collect

POLL = 0.1


class Command(BaseCommand):
    """Gives an instruction and waits until all processes have carried it out."""

    help = (
        "reset: replace every connection of a database: idle ones now, leased ones at checkin. "
        "drain: send no more reads to a replica. undrain: send reads to it again."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("instruction", choices=control.VERBS)
        parser.add_argument("alias", help="The database.")
        parser.add_argument(
            "--wait",
            type=float,
            default=5.0,
            metavar="SECONDS",
            help="Longest wait until all processes have carried out the instruction, and no "
            "connection of a drained replica is in use; 5 by default.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Give the instruction and wait for it; exit with 1 if a process has not carried it out."""
        instruction, alias = options["instruction"], options["alias"]
        if not options["wait"] >= 0:
            raise CommandError("--wait takes a number of seconds.")
        before = collect()
        _check(instruction, alias, before)
        try:
            places = {(process.folder, process.owner) for process in before.processes}
            number = control.give(instruction, alias, places)
        except OSError as error:
            raise CommandError(f"cannot give the instruction: {error}") from error
        deadline = time.monotonic() + options["wait"]
        while (missing := _missing(instruction, alias, number)) and time.monotonic() < deadline:
            time.sleep(POLL)
        count = len(before.processes)
        noun = "process" if count == 1 else "processes"
        self.stdout.write(f"{instruction} {alias}: sent to {count} live {noun}")
        for line in missing:
            self.stdout.write(self.style.ERROR(line))
        if missing:
            sys.exit(1)
        self.stdout.write(self.style.SUCCESS("done"))


def _check(instruction: str, alias: str, report: Report) -> None:
    if not conf.takes_instructions():
        raise CommandError("Processes take no instructions: set POOLROUTER['CONTROL'] = True.")
    if alias not in conf.databases():
        raise CommandError(f"Database {alias!r} not configured.")
    pool = next((pool for pool in report.pools if pool.alias == alias), None)
    if pool is None:
        raise CommandError(f"Database {alias!r} is not pooled.")
    if instruction != "reset" and pool.role != "replica":
        raise CommandError(f"Only a replica can be drained; the role of {alias!r} is {pool.role}.")


def _missing(instruction: str, alias: str, number: int) -> list[str]:
    """Return a line for each process that has not carried out the instruction."""
    report = collect(alias)
    missing = []
    for process in report.processes:
        if process.instructions is None:
            text = "takes no instructions; it was started without POOLROUTER['CONTROL']"
            missing.append(f"{_name(process)} {text}")
        elif process.instructions < number:
            missing.append(f"{_name(process)} has not answered; is it stopped?")
        elif instruction == "drain" and (used := sum(p.status.checkedout for p in process.pools)):
            missing.append(f"{_name(process)} still uses {used} of the replica's connections")
    return missing


def _name(process: ProcessReport) -> str:
    return f"process {process.pid} ({process.command})"
