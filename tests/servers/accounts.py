"""The account that database servers run as: both refuse to run as root."""

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Account:
    """An account to run programs as; `switch` is whether that takes a change of user."""

    name: str
    switch: bool

    @classmethod
    def for_server(cls, preferred: str) -> Self:
        """Whoever runs this or, for root, `preferred` where it exists and `nobody` elsewhere."""
        if os.geteuid() != 0:
            return cls(pwd.getpwuid(os.geteuid()).pw_name, switch=False)
        names = {entry.pw_name for entry in pwd.getpwall()}
        return cls(preferred if preferred in names else "nobody", switch=True)

    @property
    def popen_options(self) -> dict[str, Any]:
        """What makes subprocess run a program as this account, in a folder it may enter."""
        if not self.switch:
            return {"cwd": "/"}
        group = pwd.getpwnam(self.name).pw_gid
        return {"cwd": "/", "user": self.name, "group": group, "extra_groups": []}

    def run(self, *args: str | Path, **options: Any) -> str:
        """Run a program to its end and return what it printed, or raise ProgramFailed."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(arg) for arg in args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self.popen_options,
            **options,
        )
        if done.returncode:
            raise ProgramFailed(f"{' '.join(done.args)}\nexit {done.returncode}\n{done.stdout}")
        return done.stdout

    def can_execute(self, program: Path) -> bool:
        """Tried for real: folders on the way, modes and the loader all have a say."""
        try:
            self.run(program, "--version")
        except (OSError, ProgramFailed):
            return False
        return True

    def make_folder(self, prefix: str) -> Path:
        """Make a temporary folder of this account's own, where it can reach it."""
        for parent in dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp"]):  # noqa: S108
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            self.own(folder)
            if self._can_write(folder):
                return folder
            folder.rmdir()
        raise ProgramFailed(f"no temporary folder that {self.name} can write to")

    def own(self, path: Path) -> None:
        """Give one file or folder to this account."""
        if self.switch:
            shutil.chown(path, self.name, pwd.getpwnam(self.name).pw_gid)

    def _can_write(self, folder: Path) -> bool:
        try:
            self.run("test", "-w", folder)
        except ProgramFailed:
            return False
        return True


class ProgramFailed(RuntimeError):
    """A server's tool failed; the message holds the command line and all that it printed."""
