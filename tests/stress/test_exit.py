"""Processes that end, again and again, while threads of the package look at replicas.

POOLROUTER_EXIT_RUNS says how often.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import programs
from tests.support.databases import ENGINES
from tests.support.serving.own_files import COUNT, LINE

pytestmark = pytest.mark.stress

ROOT = Path(__file__).parents[2]
RUNS = int(os.environ.get("POOLROUTER_EXIT_RUNS", "4"))
# Runs of one test, which may not take two minutes.
BATCH = 20
SETTINGS = """
import json, os
SECRET_KEY = "for-tests"
INSTALLED_APPS = ["django_poolrouter"]
SILENCED_SYSTEM_CHECKS = ["poolrouter.W003"]
DATABASE_ROUTERS = ["django_poolrouter.router.PoolRouter"]
DATABASES = json.loads(os.environ["DATABASES"])
"""
PROGRAMS = {
    "sqlflush": ["-m", "django", "sqlflush", "--database=replica1"],
    "a program that opens files at exit": [
        "-m",
        "tests.support.serving.own_files",
        "opens_at_exit",
    ],
}


@pytest.fixture
def databases(postgresql: Any, postgresql_database: dict[str, str]) -> str:
    replica = {"ROUTER": {"REPLICA_OF": "default"}, "ENGINE": ENGINES["postgresql"]}
    settings = {
        name: {**postgresql.settings(name, name=postgresql_database["NAME"]), **replica}
        for name in ("replica1", "replica2")
    }
    return json.dumps(
        {"default": {"ENGINE": ENGINES["postgresql"], **postgresql_database}, **settings}
    )


@pytest.mark.parametrize("first", range(0, RUNS, BATCH))
@pytest.mark.parametrize("program", PROGRAMS)
def test_exit__writes_to_no_file_but_its_own(
    program: str, first: int, databases: str, tmp_path: Path
) -> None:
    (tmp_path / "exitsettings.py").write_text(SETTINGS)

    def run(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        done = programs.run(
            PROGRAMS[program],
            cwd=ROOT,
            environment={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
                "DJANGO_SETTINGS_MODULE": "exitsettings",
                "POOLROUTER_RUNTIME_DIR": str(folder / "run"),
                "FOLDER": str(folder),
                "DATABASES": databases,
            },
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr in ("", "No tables found.\n")
        [totals] = (folder / "run").iterdir()
        assert totals.suffix == ".retired"
        assert json.loads(totals.read_bytes())["pools"].keys() >= {"replica1"}
        files = [path.read_bytes() for path in folder.glob("*.own")]
        assert files == [LINE] * len(files)
        assert len(files) in (0, COUNT)

    with ThreadPoolExecutor(os.cpu_count()) as executor:
        list(executor.map(run, range(first, min(RUNS, first + BATCH))))
