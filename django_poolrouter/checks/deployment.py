"""System checks of threads, middleware, shared databases, other pools and folders."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage, Warning

from .. import conf
from ..pooling import PoolConfig
from ..pooling.config import CHECKS
from ..routing import ClusterConfig
from . import project

# Middleware whose reads must see what the user wrote in an earlier request.
READERS = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)
GUNICORN_FILE = "gunicorn.conf.py"
# Options that Django's own pool does not have.
OURS = {"profile", *CHECKS} - {"reset", "max_idle", "max_waiting"}


def check_deployment(
    clusters: tuple[ClusterConfig, ...], middleware: str
) -> Iterator[CheckMessage]:
    """Yield a warning for each doubtful setting."""
    configs = dict(_configs())
    yield from _check_threads(configs)
    if any(cluster.replicas for cluster in clusters):
        yield from _check_middleware_order(middleware)
    yield from _check_servers(configs)
    yield from _check_foreign_pools()
    yield from _check_folder()


def _configs() -> Iterator[tuple[str, PoolConfig]]:
    for alias, database in conf.databases().items():
        if conf.backend(database["ENGINE"]) is None:
            continue
        config = conf.pool_config_or_none(alias, database)
        if config is not None:
            yield alias, config


def _check_threads(configs: Mapping[str, PoolConfig]) -> Iterator[CheckMessage]:
    for source, threads in {**project.declared_threads(), **_gunicorns_threads()}.items():
        for alias, config in configs.items():
            if threads > config.max:
                yield Warning(
                    f"{source} runs {threads} threads in a process, and pool {alias!r} has "
                    f"{config.max} connections at most (pool_size {config.pool_size} + "
                    f"max_overflow {config.max_overflow}).",
                    hint="Use fewer threads, or raise pool_size or max_overflow.",
                    id="poolrouter.W020",
                )


def _gunicorns_threads() -> dict[str, int]:
    """Return the number of threads of gunicorn's workers, by the place that sets it.

    The environment wins over the file that gunicorn reads by default.  The file is not run here,
    so only a plain number is found.
    """
    words = os.environ.get("GUNICORN_CMD_ARGS", "").replace("=", " ").split()
    for name, value in pairwise(words):
        if name == "--threads" and value.isdigit():
            return {"GUNICORN_CMD_ARGS": int(value)}
    try:
        statements = ast.parse(Path(GUNICORN_FILE).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return {}
    for statement in statements:
        match statement:
            case ast.Assign([ast.Name("threads")], ast.Constant(int(threads))):
                return {GUNICORN_FILE: threads}
    return {}


def _check_middleware_order(middleware: str) -> Iterator[CheckMessage]:
    places = project.middleware_places(middleware)
    before = [
        path
        for path in READERS
        if any(place < min(places, default=0) for place in project.middleware_places(path))
    ]
    if len(places) > 1 or before:
        what = f"after {before[0]!r}" if before else "more than once"
        yield Warning(
            f"MIDDLEWARE has {middleware!r} {what}.",
            hint="List it once, near the top. Middleware before it does not see what the user "
            "wrote in an earlier request.",
            id="poolrouter.W021",
        )


def _check_servers(configs: Mapping[str, PoolConfig]) -> Iterator[CheckMessage]:
    databases = conf.databases()
    for one, other in combinations(configs, 2):
        same = _are_one(databases[one], databases[other])
        # Two replicas may share a database for now: that is a choice, not a mistake.
        if same and not (conf.replica(one) and conf.replica(other)):
            yield Warning(
                f"DATABASES[{one!r}] and DATABASES[{other!r}] are the same database: each process "
                f"may open {configs[one].max} + {configs[other].max} connections to it.",
                hint="Use one alias. If you need two, set TEST['MIRROR'] on one of them, so that "
                "they share a database in tests too.",
                id="poolrouter.W022",
            )


def _are_one(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two entries of DATABASES name the same database on the same server."""
    if any(str(one[key]) != str(other[key]) for key in ("HOST", "PORT", "NAME")):
        return False
    # Without HOST, an option may name another server.
    options = [{**database["OPTIONS"], "pool": None} for database in (one, other)]
    return conf.has_server(one) and (bool(one["HOST"]) or options[0] == options[1])


def _check_foreign_pools() -> Iterator[CheckMessage]:
    for alias, database in conf.databases().items():
        value: Any = database["OPTIONS"].get("pool")
        if conf.backend(database["ENGINE"]) is not None:
            continue
        if isinstance(value, str) or (isinstance(value, Mapping) and not OURS.isdisjoint(value)):
            yield Warning(
                f"DATABASES[{alias!r}]['OPTIONS']['pool'] is written for this package, but "
                f"ENGINE is {database['ENGINE']!r}.",
                hint="Use an ENGINE of django_poolrouter.backends.",
                id="poolrouter.W023",
            )


def _check_folder() -> Iterator[CheckMessage]:
    chosen = conf.runtime_dir()
    if chosen is None:
        return
    if not _can_be_used(Path(chosen)):
        yield Warning(
            f"POOLROUTER['RUNTIME_DIR']: the folder {chosen} cannot be read and written to.",
            hint="Let the user of the processes read and write it. Otherwise they show their "
            "pools in another folder, or not at all.",
            id="poolrouter.W024",
        )


def _can_be_used(folder: Path) -> bool:
    try:
        nearest = next(f for f in (folder, *folder.parents) if f.exists())
    except OSError:  # this user may not enter a folder above it
        return False
    return nearest.is_dir() and os.access(nearest, os.R_OK | os.W_OK | os.X_OK)
