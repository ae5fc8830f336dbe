"""System check of other people's packages that do not work beside replicas or our engines.

It looks at settings only.  It imports none of these packages, and says nothing of one that is not
installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.apps.config import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Info, Warning
from django.db.models import Model

from .. import conf
from ..process.registry import registry
from ..router import may_read_replica
from . import project
from .routing import ROUTER

Words = Mapping[str, str]
"""What a warning names: it fills in the texts of its row."""


@dataclass(frozen=True, slots=True)
class Row:
    """A package, and what is wrong with it if a setting is missing.

    Args:
        app: the name of its app.
        found: yields the words of each warning; nothing if the remedy is configured.
        message: what happens.
        hint: the remedy.
        kind: how severe it is.

    """

    app: str
    found: Callable[[], Iterator[Words]]
    message: str
    hint: str
    kind: Callable[..., CheckMessage] = Warning


def check_packages(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> Iterator[CheckMessage]:
    """Yield a warning for each installed package that lacks a setting."""
    if conf.clusters_or_none() is None:  # the check of our settings reports it
        return
    for row in ROWS:
        if apps.is_installed(row.app):
            for words in row.found():
                yield row.kind(
                    row.message.format(**words),
                    hint=row.hint.format(**words),
                    id="poolrouter.W025",
                )


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, name, default)


# -- what is there ----------------------------------------------------------------------------


def _replicas() -> list[str]:
    """Return the replicas that are read; none if our router is not used."""
    if not project.uses_router(ROUTER):
        return []
    return [replica.alias for c in conf.clusters_or_none() or () for replica in c.replicas]


def _primaries() -> list[str]:
    replicas = {replica.alias for c in conf.clusters_or_none() or () for replica in c.replicas}
    return [alias for alias in conf.databases() if alias not in replicas]


def _our_engines(aliases: Container[str] | None = None) -> dict[str, str]:
    """Return the vendors of the engines that pool, of some aliases or of all, by engine."""
    found: dict[str, str] = {}
    for alias, database in conf.databases().items():
        backend = conf.backend(database["ENGINE"])
        if backend is not None and (aliases is None or alias in aliases):
            found[database["ENGINE"]] = backend.vendor
    return found


# -- what is wrong ----------------------------------------------------------------------------


def _cachalots_databases() -> set[str]:
    """Return the aliases whose queries django-cachalot caches."""
    chosen = _setting("CACHALOT_DATABASES", "supported_only")
    if not _setting("CACHALOT_ENABLED", True):
        return set()
    if chosen != "supported_only":
        return set(chosen)
    return {alias for alias in conf.databases() if _knows_engine(alias)}


def _knows_engine(alias: str) -> bool:
    # It knows Django's engines, and those of some packages.
    engine = conf.databases()[alias]["ENGINE"]
    return (
        _setting("CACHALOT_USE_UNSUPPORTED_DATABASE", False)
        or engine in _setting("CACHALOT_ADDITIONAL_SUPPORTED_DATABASES", ())
        or conf.backend(engine) is None
    )


def _cached_replicas() -> Iterator[Words]:
    signals = sys.modules.get("cachalot.signals")
    receives = signals is not None and signals.post_invalidation.has_listeners()
    if receives and _setting("CACHALOT_TIMEOUT", None) is not None:
        # The project's receiver invalidates what was read from replicas.  The timeout is for what
        # is read after that, from a replica that lags.
        return
    cached = _cachalots_databases()
    replicas = [alias for alias in _replicas() if alias in cached]
    if replicas:
        yield {"replica": repr(replicas[0]), "primaries": repr(_primaries())}


def _uncached_engines() -> Iterator[Words]:
    if not _setting("CACHALOT_ENABLED", True):
        return
    if _setting("CACHALOT_DATABASES", "supported_only") == "supported_only":
        unknown = {alias for alias in _primaries() if not _knows_engine(alias)}
        for engine in _our_engines(unknown):
            yield {"engine": repr(engine), "primaries": repr(_primaries())}


def _cached_models() -> Iterator[Words]:
    """Look for models that django-cacheops caches and the router may read from a replica."""
    if not _setting("CACHEOPS_ENABLED", True) or not _replicas():
        return
    topology = registry.topology_or_empty()
    models = [m for m in apps.get_models() if _caches(m) and may_read_replica(m, topology)]
    if models:
        label = models[0]._meta.label
        more = f" and {len(models) - 1} more" if len(models) > 1 else ""
        yield {"label": label, "models": f"{label}{more}"}


def _caches(model: type[Model]) -> bool:
    """Tell whether CACHEOPS caches a model without being asked in each query."""
    profiles = {name.lower(): profile for name, profile in _setting("CACHEOPS", {}).items()}
    app, label = model._meta.app_label.lower(), model._meta.label_lower
    name = next((name for name in (label, f"{app}.*", "*.*") if name in profiles), None)
    if name is None or profiles[name] is None:
        return False
    return bool({**_setting("CACHEOPS_DEFAULTS", {}), **profiles[name]}.get("ops"))


CONNECTORS = {
    "postgresql": "dbbackup.db.postgresql.PgDumpBinaryConnector",
    "mysql": "dbbackup.db.mysql.MysqlDumpConnector",
    "sqlite": "dbbackup.db.sqlite.SqliteBackupConnector",
}
"""What django-dbbackup uses for Django's own engines, by vendor."""


def _dumped_as_json() -> Iterator[Words]:
    connectors = _setting("DBBACKUP_CONNECTORS", {})
    without = {
        alias
        for alias in _setting("DBBACKUP_DATABASES", conf.databases())
        if "CONNECTOR" not in connectors.get(alias, {})
    }
    for engine, vendor in _our_engines(without).items():
        if engine not in _setting("DBBACKUP_CONNECTOR_MAPPING", {}) and vendor in CONNECTORS:
            yield {"engine": repr(engine), "connector": repr(CONNECTORS[vendor])}


def _dumped_replicas() -> Iterator[Words]:
    if _replicas() and not hasattr(settings, "DBBACKUP_DATABASES"):
        yield {"replica": repr(_replicas()[0]), "primaries": repr(_primaries())}


RESET = "DJANGO_EXTENSIONS_RESET_DB_{}_ENGINES"
"""How django-extensions names the settings of its commands, by vendor."""


def _engines_of_no_command() -> Iterator[Words]:
    for engine, vendor in _our_engines().items():
        name = RESET.format(vendor.upper())
        if vendor in CONNECTORS and engine not in _setting(name, ()):
            yield {"engine": repr(engine), "setting": name}


ROWS = (
    Row(
        "cachalot",
        _cached_replicas,
        "django-cachalot caches what is read from {replica}. A write invalidates only what was "
        "read from its primary, so users of the replica see old rows for as long as they are "
        "cached.",
        "Set CACHALOT_DATABASES = {primaries}.",
    ),
    Row(
        "cachalot",
        _uncached_engines,
        "django-cachalot does not know the ENGINE {engine}, and caches nothing.",
        "Add it to CACHALOT_ADDITIONAL_SUPPORTED_DATABASES, and set CACHALOT_DATABASES = "
        "{primaries}.",
    ),
    Row(
        "cacheops",
        _cached_models,
        "django-cacheops caches {models}, which may be read from a replica. After a write, a "
        "replica that lags may be read and its old rows cached.",
        "Name the models that CACHEOPS names in ALWAYS_PRIMARY, as in '{label}'.",
    ),
    Row(
        "dbbackup",
        _dumped_as_json,
        "django-dbbackup does not know the ENGINE {engine}, and writes what dumpdata prints "
        "instead of a dump of the database.",
        "Set DBBACKUP_CONNECTOR_MAPPING = {{{engine}: {connector}}}.",
    ),
    Row(
        "dbbackup",
        _dumped_replicas,
        "django-dbbackup also makes a backup of each replica, as {replica}.",
        "Set DBBACKUP_DATABASES = {primaries}.",
    ),
    Row(
        "django_extensions",
        _engines_of_no_command,
        "The commands reset_db, drop_test_database, sqlcreate and sqldsn of django-extensions do "
        "not know the ENGINE {engine}.",
        "Set {setting} = [{engine}]. It replaces the default, so add other engines that you use.",
        kind=Info,  # most projects use other commands of it
    ),
)
"""All but cacheops, which needs a Redis, are tried in tests/integration/packages."""
