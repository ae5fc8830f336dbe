"""A missing program: on a developer's machine the run says so and passes, in CI it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.postgresql import BIN_VARIABLE
from tests.support.skips import require_package

pytestmark = pytest.mark.harness

REQUIRED = {"CI", "POOLROUTER_REQUIRE_SERVERS"}
ROOT = Path(__file__).parents[2]
#: A test for each way to ask for a program, and what the run says in an empty folder.
MISSING = {
    "tests/harness/test_servers.py::test_postgresql__refuses_a_wrong_password": (
        f"PostgreSQL (no initdb in {{folder}}; set {BIN_VARIABLE} to a folder that has it)"
    ),
    "tests/integration/routing/test_failing_replicas.py"
    "::test_frozen_replica__is_found_by_the_monitor_and_comes_back[postgresql]": (
        f"PostgreSQL (no initdb in {{folder}}; set {BIN_VARIABLE} to a folder that has it)"
    ),
    "tests/admin/test_browser.py::test_page__follows_busy_workers": (
        "chromium (not found; install chromium)"
    ),
}


def run(folder: Path, **environment: str) -> tuple[int, list[str]]:
    """Run tests that find programs in this folder alone; return the exit code and the lines."""
    clean = {name: value for name, value in os.environ.items() if name not in REQUIRED}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *MISSING],
        env=clean | {BIN_VARIABLE: str(folder), "PATH": str(folder)} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_missing_program__is_said_loudly(tmp_path: Path) -> None:
    code, lines = run(tmp_path)
    assert code == 0, lines
    for told in MISSING.values():
        assert f"NOT TESTED: {told.format(folder=tmp_path)}" in lines
    assert " 3 skipped in " in lines[-1]


@pytest.mark.parametrize("required", [{"CI": "true"}, {"POOLROUTER_REQUIRE_SERVERS": "1"}])
def test_missing_program__fails_where_it_is_required(
    tmp_path: Path, required: dict[str, str]
) -> None:
    code, lines = run(tmp_path, **required)
    assert code == 1, lines
    for told in MISSING.values():
        assert told.format(folder=tmp_path) in lines
    assert " 3 errors in " in lines[-1]


def test_missing_package__is_said_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        monkeypatch.delenv(name, raising=False)
    told = r"^NOT TESTED: no_such_thing \(not installed; pip install no_such_thing\)$"
    with pytest.raises(pytest.skip.Exception, match=told):
        require_package("no_such_thing")
    require_package("pytest")


def test_missing_package__fails_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"^no_such_thing \(not installed"):
        require_package("no_such_thing")
