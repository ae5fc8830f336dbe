"""Processes of one project whose pools do what a test says, for readers of the status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SETTINGS = """
import json, os
SECRET_KEY = "for-workers"
INSTALLED_APPS = ["django_poolrouter"]
POOLROUTER = json.loads(os.environ["POOLROUTER"])
DATABASES = json.loads(os.environ["DATABASES"])
"""
WORKER = """
import sys, threading
import django; django.setup()
from django_poolrouter import pools
leases, stop = [], threading.Event()
def use(pool):
    while not stop.is_set():
        with pool.connection() as raw:
            raw.execute("SELECT 1")
            stop.wait(0.05)
for line in sys.stdin:
    verb, alias = line.split()
    pool = pools[alias]
    match verb:
        case "take": leases.append(pool.checkout())
        case "give": lease = leases.pop(); lease.pool.checkin(lease)
        case "wait": threading.Thread(target=pool.checkout, daemon=True).start()
        case "use": threading.Thread(target=use, args=[pool], daemon=True).start()
    print("done", flush=True)
"""


class Worker:
    """A process of the project."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def do(self, *verbs: str, alias: str = "shop") -> Worker:
        """Take, give back, wait for, or use again and again connections of an alias."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for verb in verbs:
            self._process.stdin.write(f"{verb} {alias}\n")
            self._process.stdin.flush()
            assert self._process.stdout.readline() == "done\n"
        return self

    def end(self) -> None:
        """Kill it."""
        with self._process:
            self._process.kill()


class Project:
    """A project on this host: its settings, and the processes that a test starts."""

    def __init__(self, folder: Path, databases: dict[str, Any]) -> None:
        (folder / "workersettings.py").write_text(SETTINGS)
        self.databases = databases
        self.poolrouter = {"NAMESPACE": "workers", "RUNTIME_DIR": str(folder / "boards")}
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
            "DJANGO_SETTINGS_MODULE": "workersettings",
            "POOLROUTER": json.dumps(self.poolrouter),
            "DATABASES": json.dumps(databases),
        }
        self._workers: list[Worker] = []

    def worker(self) -> Worker:
        """Start one more process."""
        worker = Worker(self._environment)
        self._workers.append(worker)
        return worker

    def end(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.end()
