"""One report of all pools of the project on this host: what every reader shows."""

from __future__ import annotations

import errno
import logging
import mmap
import os
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from .. import conf
from ..options import ConfigError
from ..pooling import PoolStatus
from ..pooling.counters import BACKEND as BACKEND_WORD
from ..pooling.counters import CELL_WORDS, CREATED, POOL_WORDS, SINCE, THREAD, USES, read
from . import layout
from .folders import readable_folders

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("django_poolrouter.status")

VERSION = 1


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """One open connection."""

    state: str
    """"in_use" or "idle"."""
    state_age_s: float
    age_s: float
    uses: int
    thread: int
    backend: int


@dataclass(frozen=True, slots=True)
class ProcessPool:
    """One pool in one process."""

    alias: str
    vendor: str
    profile: str
    status: PoolStatus
    connections: tuple[ConnectionReport, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One process that has opened a pool."""

    pid: int
    command: str
    started_at: str
    pools: tuple[ProcessPool, ...]


@dataclass(frozen=True, slots=True)
class PoolReport:
    """One alias over all processes; figures are sums, but ages are maxima.

    Where no process has opened the pool, size and max are those of a single one.
    """

    alias: str
    role: str
    cluster: str | None
    vendor: str
    profile: str
    processes: int
    status: PoolStatus


@dataclass(frozen=True, slots=True)
class Report:
    """The pools of the project on this host."""

    generated_at: datetime
    host: str
    pools: tuple[PoolReport, ...]
    processes: tuple[ProcessReport, ...]


def collect(alias: str | None = None) -> Report:
    """Read the boards of all live processes and add the pools that nobody has opened.

    Args:
        alias: only this database.

    """
    processes = tuple(
        sorted(read_processes(conf.namespace(), alias), key=lambda process: process.pid)
    )
    return Report(
        generated_at=datetime.now(UTC),
        host=socket.gethostname(),
        pools=tuple(_sum_up(processes, alias)),
        processes=processes,
    )


def read_processes(namespace: str, alias: str | None = None) -> Iterator[ProcessReport]:
    """Read every live process's board; boards of dead processes are removed."""
    for folder in readable_folders():
        for path in sorted(folder.glob(f"{namespace}-*{layout.SUFFIX}")):
            try:
                process = _read_board(path, alias)
            except (OSError, ValueError) as error:
                logger.debug("cannot read %s: %s", path, error)
                continue
            if process is not None:
                yield process


def _read_board(path: Path, alias: str | None) -> ProcessReport | None:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        if not _is_locked(descriptor):
            path.unlink(missing_ok=True)
            return None
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as board:
            view = memoryview(board)
            try:
                return _parse(view, alias)
            finally:
                view.release()
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """Tell whether the writer lives: the kernel drops its lock with the process."""
    try:
        # Shared, so that two readers do not take each other for the writer.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        raise
    return False


def _parse(view: memoryview, alias: str | None) -> ProcessReport:
    process, segments = layout.parse(view)
    now = time.monotonic_ns()
    pools: dict[str, ProcessPool] = {}
    for meta, words in segments:
        with words:
            if alias in (None, meta["alias"]):
                found = ProcessPool(
                    meta["alias"],
                    meta["vendor"],
                    meta["profile"],
                    read(words, now),
                    tuple(_connections(words, now)),
                )
                # Renamed test databases and copies of a wrapper have pools of their own.
                known = pools.get(found.alias)
                pools[found.alias] = _merge(known, found) if known else found
    return ProcessReport(
        process["pid"], process["command"], process["started_at"], tuple(pools.values())
    )


def _connections(words: memoryview, now: int) -> Iterator[ConnectionReport]:
    for start in range(POOL_WORDS, len(words), CELL_WORDS):
        cell = words[start : start + CELL_WORDS].tolist()
        if since := cell[SINCE]:
            yield ConnectionReport(
                state="in_use" if since > 0 else "idle",
                state_age_s=max(0, now - abs(since)) / 1e9,
                age_s=max(0, now - cell[CREATED]) / 1e9,
                uses=cell[USES],
                thread=cell[THREAD],
                backend=cell[BACKEND_WORD],
            )


def _merge(one: ProcessPool, other: ProcessPool) -> ProcessPool:
    return ProcessPool(
        one.alias,
        one.vendor,
        one.profile,
        add([one.status, other.status]),
        one.connections + other.connections,
    )


def add(statuses: Iterable[PoolStatus]) -> PoolStatus:
    """Return the sums of all figures, and the maxima of the ages."""
    statuses = list(statuses)
    return PoolStatus(
        **{
            field.name: (max if field.name.startswith("oldest") else sum)(
                getattr(status, field.name) for status in statuses
            )
            for field in fields(PoolStatus)
        }
    )


def _sum_up(processes: tuple[ProcessReport, ...], wanted: str | None) -> Iterator[PoolReport]:
    roles = _roles()
    for alias, database in conf.databases().items():
        backend = conf.backend(database["ENGINE"])
        if backend is None or wanted not in (None, alias):
            continue
        found = [pool for process in processes for pool in process.pools if pool.alias == alias]
        try:
            config = conf.pool_config(alias, database)
        except ConfigError:  # the system check tells
            config = None
        if config is None and not found:
            continue
        role, cluster = roles.get(alias, ("standalone", None))
        yield PoolReport(
            alias=alias,
            role=role,
            cluster=cluster,
            vendor=backend.vendor,
            profile=config.profile if config else found[0].profile,
            processes=len(found),
            status=add([pool.status for pool in found] or [PoolStatus.unopened(config)]),
        )


def _roles() -> dict[str, tuple[str, str]]:
    """Return each alias's role and cluster."""
    try:
        clusters = conf.clusters()
    except ConfigError:
        return {}
    roles = {cluster.primary: ("primary", cluster.primary) for cluster in clusters}
    for cluster in clusters:
        roles.update({r.alias: ("replica", cluster.primary) for r in cluster.replicas})
    return roles
