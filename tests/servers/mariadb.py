"""A MariaDB primary with replicas that follow it by GTID."""

import os
import shutil
import signal
from pathlib import Path

from tests.servers.accounts import ProgramFailed
from tests.servers.cluster import PRIMARY, Cluster, ServersMissing

SETTINGS = """\
[mariadbd]
bind-address = 127.0.0.1
skip-name-resolve
character-set-server = utf8mb4
max-connections = 200
log-bin = binlog
log-slave-updates
binlog-format = ROW
gtid-strict-mode = 1
slave-net-timeout = 5
# These data need to survive a killed server, but not a power cut.
innodb-flush-log-at-trx-commit = 2
innodb-flush-method = nosync
innodb-log-file-size = 16M
innodb-buffer-pool-size = 64M
"""

NODE_SETTINGS = """\
server-id = {number}
port = {port}
datadir = {node}.data
socket = {node}.sock
tmpdir = {node}.tmp
"""

TLS_SETTINGS = """\
ssl-cert = {certificate}
ssl-key = {key}
require-secure-transport = 1
"""


class MariadbCluster(Cluster):
    """See `Cluster`. Its superuser is `root`, through the node's Unix socket only."""

    ACCOUNT = "mysql"
    # SIGTERM would wait for a clean shutdown.
    STOP_SIGNAL = signal.SIGKILL
    REPLICATOR = "replicator"

    # -- for applications ----------------------------------------------------

    def create_database(self, name: str) -> None:
        """See `Cluster`."""
        self.sql(PRIMARY, f"CREATE DATABASE `{name}`")
        self.wait_for_replicas()

    def wait_for_replicas(self, timeout: float = 10) -> None:
        """See `Cluster`."""
        position = self.sql(PRIMARY, "SELECT @@gtid_binlog_pos")
        for node in self.replicas:
            if self.sql(node, f"SELECT MASTER_GTID_WAIT('{position}', {timeout})") != "0":
                raise TimeoutError(f"{node}: not at {position} within {timeout} s")

    # -- acts on one node ----------------------------------------------------

    def sql(self, node: str, *statements: str) -> str:
        """See `Cluster`."""
        client = ("mariadb", "--no-defaults", "-uroot", "-S", str(self._file(node, "sock")))
        return self._run(*client, "-BN", "-e", ";".join(statements)).strip()

    def load_timezones(self) -> None:
        """Let CONVERT_TZ know named zones, on every node; takes some 2 s."""
        zones = self.folder / "zones.sql"
        zones.write_text(self._run("mariadb-tzinfo-to-sql", "/usr/share/zoneinfo"))
        for node in self.nodes:
            self.sql(node, f"SET SESSION sql_log_bin = 0;\nUSE mysql;\nsource {zones}\n")

    def promote(self, node: str) -> None:
        """See `Cluster`."""
        self.sql(node, "STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0")

    def follow(self, node: str, primary: str) -> None:
        """See `Cluster`."""
        self.sql(
            node,
            "STOP SLAVE",
            f"CHANGE MASTER TO master_host = '127.0.0.1', master_port = {self.ports[primary]},"
            f" master_user = '{self.REPLICATOR}', master_password = '{self.PASSWORD}',"
            " master_use_gtid = slave_pos, master_connect_retry = 1",
            "START SLAVE",
            "SET GLOBAL read_only = 1",
        )

    # -- how it is made ------------------------------------------------------

    def _find_binaries(self) -> None:
        for program in ("mariadbd", "mariadb-install-db", "mariadb"):
            _find(program)

    def _set_up(self) -> None:
        for number, node in enumerate(self.nodes, 1):
            self._configure(node, number)
        self._make_data()
        for node in self.nodes:
            self._launch(node)
        self._create_accounts()
        for node in self.replicas:
            self.follow(node, PRIMARY)
        self.wait_for_replicas()

    def _configure(self, node: str, number: int) -> None:
        here = NODE_SETTINGS.format(number=number, port=self.ports[node], node=self.folder / node)
        self._file(node, "cnf").write_text(SETTINGS + here + self._tls_settings())
        # Not /tmp: a server that starts deletes what other servers keep there.
        temporary = self._file(node, "tmp")
        temporary.mkdir()
        self.account.own(temporary)

    def _tls_settings(self) -> str:
        if not self.tls:
            return ""
        return TLS_SETTINGS.format(certificate=self.certificate, key=self.certificate_key)

    def _make_data(self) -> None:
        """Make one empty data folder and copy it: faster than making each."""
        self._run(
            "mariadb-install-db",
            f"--defaults-file={self._file(PRIMARY, 'cnf')}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        for node in self.replicas:
            self._run("cp", "-a", str(self._file(PRIMARY, "data")), str(self._file(node, "data")))

    def _create_accounts(self) -> None:
        """The application's account may do anything but write where `read_only` is set."""
        self.sql(
            PRIMARY,
            f"CREATE USER {self.REPLICATOR} IDENTIFIED BY '{self.PASSWORD}'",
            f"GRANT REPLICATION SLAVE ON *.* TO {self.REPLICATOR}",
            f"CREATE USER {self.USER} IDENTIFIED BY '{self.PASSWORD}'",
            f"GRANT ALL ON *.* TO {self.USER}",
            f"REVOKE READ_ONLY ADMIN ON *.* FROM {self.USER}",
        )

    def _command(self, node: str) -> list[str]:
        return [_find("mariadbd"), f"--defaults-file={self._file(node, 'cnf')}"]

    def _remove_locks(self, node: str) -> None:
        for kind in ("sock", "sock.lock"):
            self._file(node, kind).unlink(missing_ok=True)

    def _is_ready(self, node: str) -> bool:
        if not self._file(node, "sock").exists():
            return False
        try:
            self.sql(node, "SELECT 1")
        except ProgramFailed:
            return False
        return True

    def _file(self, node: str, kind: str) -> Path:
        return self.folder / f"{node}.{kind}"

    def _run(self, program: str, *args: str) -> str:
        return self.account.run(_find(program), *args)


def _find(program: str) -> str:
    """The full path, also where only root has the `sbin` folders on the PATH."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        raise ServersMissing(f"MariaDB ({program} not found; install mariadb-server)")
    return path
