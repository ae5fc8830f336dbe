"""Users of several web processes, who write and look whether they see it."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.doubles import Task

ROOT = Path(__file__).parents[2]
PROCESSES = 3
USERS = 10


@dataclass(frozen=True)
class Read:
    """What one read saw."""

    when: float
    port: int
    value: int
    wanted: int

    @property
    def is_stale(self) -> bool:
        return self.value < self.wanted


@contextmanager
def web_processes(**asked: Any) -> Iterator[list[int]]:
    """Start web processes; yields their ports."""
    command = [sys.executable, "-m", "tests.stress.web", json.dumps(asked)]
    with ExitStack() as stack:
        processes = []
        for _ in range(PROCESSES):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
            stack.enter_context(process)
            stack.callback(process.stdin.close)
            processes.append(process)
        yield [int(process.stdout.readline()) for process in processes]


class User:
    """One browser: a cookie, a row, and a memory of what was written to it."""

    def __init__(self, number: int, ports: list[int], seed: object) -> None:
        self.number = number
        self.reads: list[Read] = []
        self.failures: list[str] = []
        self._ports = ports
        self._dice = random.Random(f"{seed} {number}")
        self._cookie = ""
        self._value = 0

    def browse(self, until: float) -> None:
        """Write, look at once, look around for a while, and again."""
        while time.monotonic() < until:
            self.write()
            self.read()
            for _ in range(self._dice.randrange(30)):
                if time.monotonic() > until:
                    break
                time.sleep(self._dice.random() * 0.04)
                self.read()

    def write(self) -> None:
        if self._get(f"/write/{self.number}/{self._value + 1}") is not None:
            self._value += 1

    def read(self) -> None:
        when = time.monotonic()
        answer = self._get(f"/read/{self.number}")
        if answer is not None:
            self.reads.append(Read(when, answer["port"], answer["value"], self._value))

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._dice.choice(self._ports))
        try:
            connection.request("GET", path, headers={"Cookie": self._cookie})
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                self.failures.append(f"{path}: {response.status}")
                return None
            cookie = response.getheader("Set-Cookie")
            if cookie:
                self._cookie = cookie.partition(";")[0]
            return json.loads(body)
        finally:
            connection.close()


@contextmanager
def users_at_work(ports: list[int], seconds: float, seed: object) -> Iterator[list[User]]:
    """Let users browse meanwhile; they have finished when the block ends."""
    users = [User(number, ports, seed) for number in range(1, USERS + 1)]
    start = threading.Barrier(USERS)
    until = time.monotonic() + seconds

    def work(user: User) -> None:
        start.wait()
        user.browse(until)

    tasks = [Task(work, user) for user in users]
    yield users
    for task in tasks:
        task.finished(limit=seconds + 60)
        task.result()
