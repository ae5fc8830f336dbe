"""Stops the servers of a process that died without stopping them itself.

A process killed by SIGTERM or SIGKILL runs no atexit function. So each cluster has a small
helper process that waits for the end of a pipe: the pipe ends when its owner does.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


class Reaper:
    """The owner's end of the pipe."""

    def __init__(self, folder: Path, stop_signal: signal.Signals) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-IS", __file__, str(folder), str(int(stop_signal))],
            stdin=subprocess.PIPE,
            # Whoever reads the owner's output must not wait for this process too.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def watch(self, node: str, pid: int) -> None:
        """Tell the reaper of a node's process, in place of that node's previous one."""
        (self._folder / f"{node}.pid").write_text(str(pid))

    def dismiss(self) -> None:
        """End the helper; with the folder gone it finds nothing to do."""
        self._process.communicate()


def reap(folder: Path, stop_signal: int) -> None:
    """Stop the servers whose process ids lie in the folder, and remove it."""
    pids = [int(file.read_text()) for file in folder.glob("*.pid")]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, stop_signal)
    deadline = time.monotonic() + 5
    while any(map(_is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    """Not a zombie: in a container, nobody may collect the orphans for long."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    sys.stdin.read()
    reap(Path(sys.argv[1]), int(sys.argv[2]))
