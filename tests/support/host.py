"""A project on this host with workers that do what they are told, and commands beside them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.programs import Program, run

ROOT = Path(__file__).parents[2]
# A command that Ctrl-C ends; what a script starts in the background would ignore it.
INTERRUPTIBLE = """
import signal, sys
from django.core.management import execute_from_command_line
signal.signal(signal.SIGINT, signal.default_int_handler)
execute_from_command_line(sys.argv)
"""
SETTINGS = """
import json, os
SECRET_KEY = os.environ.get("KEY", "for-tests")
INSTALLED_APPS = ["django_poolrouter"]
POOLROUTER = {
    "NAMESPACE": os.environ.get("NAMESPACE"),
    "PROFILES": {"tiny": {"pool_size": 2, "max_overflow": 1, "pool_timeout": 30}},
    **json.loads(os.environ.get("POOLROUTER", "{}")),
}
NAME = os.environ["NAME"]
SERVER = json.loads(os.environ.get("SERVER", "{}"))
MORE = SERVER.pop("MORE_OPTIONS", {})
DATABASES = json.loads(os.environ.get("DATABASES", "null")) or {
    "default": {
        "ENGINE": "django_poolrouter.backends.sqlite3", "NAME": NAME,
        **SERVER, "OPTIONS": {"pool": "tiny", **MORE},
    },
    "unopened": {
        "ENGINE": "django_poolrouter.backends.sqlite3", "NAME": NAME,
        **json.loads(os.environ.get("REPLICA", "{}")), "OPTIONS": {"pool": "batch"},
        "ROUTER": {"REPLICA_OF": "default"},
    },
    "unpooled": {
        "ENGINE": "django_poolrouter.backends.sqlite3", "NAME": NAME, "OPTIONS": {"pool": False},
    },
}
"""
WORKER = """
import os, sys, threading, time
import django; django.setup()
from django_poolrouter import clusters, pools
pool = pools[os.environ.get("ALIAS", "default")]
leases = []
def use(pool):
    while True:
        with pool.connection() as raw:
            raw.execute("SELECT 1")
            time.sleep(0.05)
for line in sys.stdin:
    match line.split():
        case ["on", alias]: pool = pools[alias]
        case ["take"]: leases.append(pool.checkout())
        case ["give"]: lease = leases.pop(); lease.pool.checkin(lease)
        case ["run", *sql]: leases[-1].connection.cursor().execute(" ".join(sql))
        case ["wait"]: threading.Thread(target=pool.checkout, daemon=True).start()
        case ["use"]: threading.Thread(target=use, args=[pool], daemon=True).start()
        case ["fork"]:
            if os.fork() == 0:
                time.sleep(60); os._exit(0)
        case ["close"]: pools.dispose_all()
        case ["lose"]:
            os.closerange(3, 1024)
            leases += [open(os.devnull) for _ in range(30)]  # take their numbers
        case ["thread"]: print(threading.get_ident())
        case ["read"]:
            with clusters["default"].read_session() as wrapper, wrapper.cursor() as cursor:
                cursor.execute("SELECT 1")
                print(wrapper.alias)
    print("done", flush=True)
"""


class Host:
    """A project on this host: its workers, and commands run from another shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "hostsettings.py").write_text(SETTINGS)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
            "DJANGO_SETTINGS_MODULE": "hostsettings",
            "KEY": str(folder),  # a project of its own: totals outlive processes
            "NAME": str(folder / "db.sqlite3"),
            "POOLROUTER_RUNTIME_DIR": str(folder / "boards"),
        }
        self.workers: list[Worker] = []

    def worker(self, **environment: str) -> Worker:
        worker = Worker(self.environment | environment)
        self.workers.append(worker)
        return worker

    def end(self) -> None:
        """Kill all workers that live."""
        for worker in self.workers:
            worker.end()

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run django-admin from a folder and environment that share little with the workers'."""
        return run(["-m", "django", *arguments], self.environment | environment)

    def status(self, *arguments: str, **environment: str) -> dict[str, Any]:
        done = self.run("poolstatus", "--json", *arguments, **environment)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def default(self) -> dict[str, Any]:
        return next(pool for pool in self.status()["pools"] if pool["alias"] == "default")

    def connections(self, *arguments: str) -> list[dict[str, Any]]:
        processes = self.status("--database", "default", "--connections", *arguments)["processes"]
        return [
            c for process in processes for pool in process["pools"] for c in pool["connections"]
        ]

    def pids(self) -> set[int]:
        return {process["pid"] for process in self.status()["processes"]}


class Worker:
    """A process that does with its pool what it is told."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = Program(["-c", WORKER], environment)
        self.pid = self.process.pid

    def do(self, *verbs: str) -> Worker:
        """Do one thing after the other; see WORKER."""
        for verb in verbs:
            self.process.stdin.write(f"{verb}\n")
            self.process.stdin.flush()
            assert self.process.stdout.readline() == "done\n"
        return self

    def ask(self, verb: str) -> str:
        """Do what prints one line."""
        self.process.stdin.write(f"{verb}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert self.process.stdout.readline() == "done\n"
        return answer

    def leave(self) -> None:
        """Let it come to its end in order."""
        self.process.stdin.close()
        assert self.process.wait(20) == 0

    def end(self) -> None:
        """Kill it, if it lives."""
        self.process.end()
