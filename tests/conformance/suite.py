"""One run of Django's own tests on one engine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django

from tests.servers import MariadbCluster, PostgresqlCluster

ROOT = Path(__file__).parents[2]
STOCK = {
    "sqlite": "django.db.backends.sqlite3",
    "postgresql": "django.db.backends.postgresql",
    "mariadb": "django.db.backends.mysql",
}
OURS = {
    "sqlite": "django_poolrouter.backends.sqlite3",
    "postgresql": "django_poolrouter.backends.postgresql",
    "mariadb": "django_poolrouter.backends.mysql",
}
ROUTERS = ["suite_runner.EachDatabaseHasAllTables", "django_poolrouter.router.PoolRouter"]
SETTINGS = """\
from test_sqlite import *
DATABASES = {databases!r}
DATABASE_ROUTERS = {routers!r}
TEST_RUNNER = "suite_runner.Runner"
"""
RUNNER = """\
import json, os, re
from collections import Counter
from django.conf import settings
from django.test.runner import DiscoverRunner

marks = Counter()

def count_marks():
    "Count what marks the leases, by the first words of the statement; and all leases."
    from django_poolrouter.drivers.session import Session
    from django_poolrouter.pooling.grants import PoolState
    from django_poolrouter.pooling.pool import Pool

    def note(self, mark, what, parameters, **kwargs):
        if self._heard is None and self.mark is None:
            words = re.split("[^A-Za-z0-9_ ]", str(what).strip())[0].split()
            marks[f"{mark.kind}: {' '.join(words[:3])}"] += 1
        original(self, mark, what, parameters, **kwargs)

    def note_reset(self, mark):
        marks["leases marked" if mark else "sessions cleared otherwise"] += 1
        reset(self, mark)

    def checkin(self, lease, *, broken=False):
        marks["leases"] += 1
        back(self, lease, broken=broken)

    original, Session._note = Session._note, note
    reset, PoolState.note_reset = PoolState.note_reset, note_reset
    back, Pool.checkin = Pool.checkin, checkin

if settings.DATABASES["default"]["ENGINE"].startswith("django_poolrouter"):
    count_marks()

class EachDatabaseHasAllTables:
    "Django's tests want each table on both databases; the router has one owner for each."
    def allow_migrate(self, db, app_label, **hints):
        return not db.endswith("_replica")

if settings.DATABASE_ROUTERS:
    # What our AppConfig does; Django's tests choose the apps themselves.
    from django_poolrouter.apps import join_django
    join_django()

class Runner(DiscoverRunner):
    def suite_result(self, suite, result, **kwargs):
        name = lambda test: re.sub(" at 0x[0-9a-f]+", "", test.id())
        ids = lambda pairs: sorted(name(test) for test, _ in pairs)
        with open(os.environ["SUITE_RESULT"], "w") as stream:
            json.dump({
                "tests": result.testsRun,
                "failed": ids(result.failures) + ids(result.errors)
                    + sorted(name(test) for test in result.unexpectedSuccesses),
                "skipped": ids(result.skipped),
                "marks": marks,
            }, stream)
        return super().suite_result(suite, result, **kwargs)
"""


def source_tree(work: Path) -> Path:
    """Return the unpacked source distribution, tests and all, of the installed Django."""
    version = django.__version__
    tree = work / f"django-{version}"
    if not (tree / "tests").is_dir():
        download = ["download", "-q", "--no-deps", "--no-binary", ":all:", f"Django=={version}"]
        subprocess.check_call([sys.executable, "-m", "pip", *download, "-d", work])
        [archive] = work.glob(f"[Dd]jango-{version}.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(work, filter="data")
    return tree


@contextlib.contextmanager
def server(vendor: str) -> Iterator[dict[str, Any]]:
    """The connection settings of a fresh server."""
    if vendor == "sqlite":
        yield {}
    elif vendor == "postgresql":
        with PostgresqlCluster(replicas=0) as cluster:
            # Some tests create extensions and roles.
            account = {"USER": cluster.SUPERUSER, "PASSWORD": ""}
            yield {**cluster.settings("primary", name="postgres"), **account}
    else:
        with MariadbCluster(replicas=0) as cluster:
            cluster.load_timezones()
            yield cluster.settings("primary", name="")


def run(
    tree: Path, vendor: str, entry: dict[str, Any], labels: list[str], options: Any
) -> dict[str, Any]:
    """Run the labels on one engine and return what came of them.

    Args:
        tree: the source distribution.
        vendor: a key of ``STOCK``.
        entry: ENGINE, and OPTIONS if any, for DATABASES.
        labels: of Django's tests.
        options: the command line: ``parallel``, ``timeout`` (seconds), ``routed`` and ``work``.

    """
    began = time.monotonic()
    engine = entry["ENGINE"]
    log = options.work / f"{vendor}-{engine.split('.')[0]}-x{options.parallel}.log"
    with tempfile.TemporaryDirectory() as folder, server(vendor) as account:
        outcome = Path(folder, "result.json")
        routed = options.routed and engine in OURS.values()
        _write_settings(Path(folder), entry, account, routed=routed)
        command = ["runtests.py", "--noinput", "-v1", "--settings=suite_settings"]
        with log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, *command, f"--parallel={options.parallel}", *labels],
                cwd=tree / "tests",
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([folder, str(ROOT)]),
                    "SUITE_RESULT": str(outcome),
                },
            )
            try:
                process.wait(options.timeout)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if not outcome.exists():
            raise RuntimeError(f"the suite did not finish, see {log}")
        result: dict[str, Any] = json.loads(outcome.read_text())
    return {"engine": engine, **result, "seconds": round(time.monotonic() - began)}


def _write_settings(
    folder: Path, entry: dict[str, Any], account: dict[str, Any], *, routed: bool
) -> None:
    databases: dict[str, dict[str, Any]] = {}
    for alias in ("default", "other"):
        databases[alias] = {**entry, **account}
        if account:
            databases[alias]["NAME"] = account["NAME"] or f"django_{alias}"
            databases[alias]["TEST"] = {"NAME": f"test_{alias}"}
        else:  # a database in memory has no pool
            databases[alias]["NAME"] = str(folder / f"{alias}.sqlite3")
            databases[alias]["TEST"] = {"NAME": str(folder / f"test_{alias}.sqlite3")}
        if routed:
            replica = {**databases[alias], "ROUTER": {"REPLICA_OF": alias}}
            databases[f"{alias}_replica"] = {**replica, "TEST": {"MIRROR": alias}}
    routers = ROUTERS if routed else []
    (folder / "suite_settings.py").write_text(SETTINGS.format(databases=databases, routers=routers))
    (folder / "suite_runner.py").write_text(RUNNER)
