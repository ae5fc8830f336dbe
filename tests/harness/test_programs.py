"""Tests of programs that the fork server runs: what differs from a Python of one's own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import Program, run

pytestmark = pytest.mark.harness

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def test_program__has_the_environment_and_the_folder_that_it_is_given(tmp_path: Path) -> None:
    code = "import os, sys; print(dict(os.environ), os.getcwd(), sys.argv)"
    done = run(["-c", code, "a", "b"], {"KEY": "value"}, cwd=tmp_path)
    assert done.stdout == f"{{'KEY': 'value'}} {tmp_path} ['-c', 'a', 'b']\n"


def test_program__imports_from_pythonpath(tmp_path: Path) -> None:
    (tmp_path / "found.py").write_text("import sys; print(__name__, sys.argv[1:])")
    done = run(["-m", "found", "an argument"], ENVIRONMENT | {"PYTHONPATH": str(tmp_path)})
    assert done.stdout == "__main__ ['an argument']\n"


def test_program__knows_nothing_of_the_package_and_of_tests() -> None:
    code = "import sys; print([m for m in sys.modules if m.startswith(('django_pool', 'tests'))])"
    assert run(["-c", code], ENVIRONMENT).stdout == "[]\n"


def test_program__holds_no_descriptor_but_its_streams() -> None:
    code = "import os; print(os.listdir('/proc/self/fd'))"
    with Program(["-c", "input()"], ENVIRONMENT):
        # The last is that of the folder.
        assert run(["-c", code], ENVIRONMENT).stdout == "['0', '1', '2', '3']\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("raise SystemExit(7)", 7),
        ("1 / 0", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ],
)
def test_program__ends_as_any_other(code: str, status: int) -> None:
    assert run(["-c", code], ENVIRONMENT).returncode == status


def test_end__runs_what_is_registered_for_it_and_waits_for_threads() -> None:
    code = """
import atexit, threading, time
atexit.register(print, "registered")
ended = threading.Event()
threading.Thread(target=lambda: (ended.wait(), print("thread"))).start()
threading.Timer(0, ended.set).start()
"""
    assert run(["-c", code], ENVIRONMENT).stdout == "thread\nregistered\n"


def test_errors__are_those_of_the_program() -> None:
    done = run(["-c", "raise ValueError('wrong')"], ENVIRONMENT)
    assert done.stderr.startswith("Traceback ")
    assert done.stderr.endswith("\nValueError: wrong\n")


def test_streams__are_pipes_while_it_runs() -> None:
    with Program(["-c", "print(input()[::-1], flush=True); input()"], ENVIRONMENT) as program:
        program.stdin.write("abc\n")
        program.stdin.flush()
        assert program.stdout.readline() == "cba\n"
        assert program.poll() is None
        program.send_signal(signal.SIGKILL)
        assert program.wait(20) == -signal.SIGKILL


def test_wait__has_a_limit() -> None:
    with Program(["-c", "input()"], ENVIRONMENT) as program:
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(0.01)
        program.stdin.close()
        assert program.wait(20) == 1
