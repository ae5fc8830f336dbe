"""The only reader of this package's settings.

Settings are parsed once into frozen objects.  They are parsed again after a test overrides
POOLROUTER or DATABASES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import connections
from django.db.utils import load_backend
from django.utils.crypto import salted_hmac
from django.utils.module_loading import import_string

from . import validation
from .pooling import PoolConfig
from .pooling.config import parse, parse_profiles
from .routing import ClusterConfig, parse_clusters
from .routing.balancers import BALANCERS, Balancer
from .routing.config import ReplicaConfig
from .validation import ConfigError, Problem

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from .drivers.driver import Driver

TEST_MIRROR = "IS_TEST_MIRROR"
"""A key in the settings of an alias while tests run and the alias is a mirror."""
# The keys of POOLROUTER.  Profiles and routing have their own parsers.
CHECKS: Mapping[str, validation.Check] = {
    "PROFILES": lambda value: value,
    "ROUTING": lambda value: value,
    "NAMESPACE": validation.text,
    "RUNTIME_DIR": validation.folder,
    "CONTROL": validation.boolean,
}

STORES = {
    "cookie": "django_poolrouter.stores.CookieStore",
    "cache": "django_poolrouter.stores.CacheStore",
}

T = TypeVar("T")


def databases() -> Mapping[str, Mapping[str, Any]]:
    """Return settings.DATABASES with Django's defaults filled in."""
    return cast("Mapping[str, Mapping[str, Any]]", connections.settings)


@lru_cache
def backend(engine: str) -> type[BaseDatabaseWrapper] | None:
    """Return the wrapper class of an ENGINE if it is one of our backends, else None."""
    try:
        wrapper = load_backend(engine).DatabaseWrapper
    except (ImportError, ImproperlyConfigured):  # Django reports it when the alias is used
        return None
    return wrapper if hasattr(wrapper, "database_pool") else None


def check_backend(alias: str, wrapper: Any) -> None:
    """Refuse a wrapper class that pools, but says that it cannot.

    Raises:
        ConfigError: with one problem for each reason.

    """
    where = f"DATABASES[{alias!r}]['ENGINE']"
    problems = [Problem(where, reason) for reason in wrapper.refusals()]
    if problems:
        raise ConfigError(*problems)


def pool_config(alias: str, database: Mapping[str, Any]) -> PoolConfig | None:
    """Return how a database is pooled; None if it is not.

    Raises:
        ConfigError: with one problem for each mistake.

    """
    value = database["OPTIONS"].get("pool")
    if value is False or value == "false":  # a URL can only hold the text
        return None
    where = f"DATABASES[{alias!r}]['OPTIONS']['pool']"
    problems: list[Problem] = []
    config = _collect(lambda: parse(value, profiles(), where), problems)
    if config is not None and callable_path(config.reset):
        _collect(lambda: load(config.reset, f"{where}['reset']"), problems)
    if config is not None and config.configure is not None:
        _collect(lambda: load(config.configure, f"{where}['configure']"), problems)
    if database["CONN_MAX_AGE"] != 0:
        problems.append(
            Problem(
                f"DATABASES[{alias!r}]['CONN_MAX_AGE']",
                f"must be 0 with a pool, not {database['CONN_MAX_AGE']!r}: "
                "each thread would keep a connection to itself.",
                "Use pool_recycle for the lifetime of connections.",
            )
        )
    if problems or config is None:
        raise ConfigError(*problems)
    return config


def pool_config_or_none(alias: str, database: Mapping[str, Any]) -> PoolConfig | None:
    """Return how a database is pooled; None if it is not, or if its settings are wrong."""
    try:
        return pool_config(alias, database)
    except ConfigError:  # the system check reports it
        return None


@lru_cache(maxsize=1)
def profiles() -> Mapping[str, Mapping[str, Any]]:
    """Return all profiles, each with all its options; raise ConfigError if one is wrong."""
    problems = _own_problems()
    found = _collect(lambda: parse_profiles(_poolrouter().get("PROFILES", {})), problems)
    if problems or found is None:
        raise ConfigError(*problems)
    return found


@lru_cache(maxsize=1)
def clusters() -> tuple[ClusterConfig, ...]:
    """Return the clusters; raise ConfigError if the settings are wrong."""
    used = {a: d for a, d in databases().items() if d["ENGINE"] != "django.db.backends.dummy"}
    entries = {alias: database.get("ROUTER", {}) for alias, database in used.items()}
    problems = _own_problems()
    found = _collect(lambda: parse_clusters(entries, _poolrouter().get("ROUTING", {})), problems)
    if found:
        _collect(store, problems)
    for cluster in found or ():
        _collect(lambda c=cluster: balancer(c), problems)  # type: ignore[misc]
    if problems or found is None:
        raise ConfigError(*dict.fromkeys(problems))
    return found


def clusters_or_none() -> tuple[ClusterConfig, ...] | None:
    """Return the clusters; None if the settings are wrong, which the system check reports."""
    try:
        return clusters()
    except ConfigError:
        return None


def replica(alias: str) -> ReplicaConfig | None:
    """Return the settings of a replica; None if the alias is not a replica.

    Raises:
        ConfigError: the settings are wrong.

    """
    found = (replica for cluster in clusters() for replica in cluster.replicas)
    return next((replica for replica in found if replica.alias == alias), None)


def is_read_only(alias: str, database: Mapping[str, Any]) -> bool:
    """Tell whether the sessions of a database refuse writes, as replicas do by default.

    Args:
        alias: the alias of the database.
        database: its current settings.  They say whether it is a test mirror, which takes writes.

    Raises:
        ConfigError: the settings are wrong.

    """
    config = replica(alias)
    return config is not None and config.read_only and TEST_MIRROR not in database


@lru_cache(maxsize=1)
def store() -> Any:
    """Return the store for users' writes; raise ConfigError if it cannot be loaded."""
    routing = _poolrouter().get("ROUTING", {})
    chosen = routing.get("STORE", "cookie") if isinstance(routing, Mapping) else "cookie"
    return load(STORES.get(chosen, chosen), "POOLROUTER['ROUTING']['STORE']")()


def cookie_attributes() -> dict[str, Any]:
    """Return cookie attributes: the same domain, path and flags as the session cookie."""
    return {
        "domain": settings.SESSION_COOKIE_DOMAIN,
        "path": settings.SESSION_COOKIE_PATH,
        "samesite": settings.SESSION_COOKIE_SAMESITE,
        "secure": settings.SESSION_COOKIE_SECURE,
    }


def has_servers(cluster: ClusterConfig) -> bool:
    """Tell whether all databases of a cluster have an engine that pools, and a server."""
    return all(has_server(databases()[alias]) for alias in cluster.aliases)


def has_server(database: Mapping[str, Any]) -> bool:
    """Tell whether a database has an engine that pools, and a server."""
    driver = _driver(database)
    return driver is not None and driver.has_server


def tells_positions(cluster: ClusterConfig) -> bool:
    """Tell whether all databases of a cluster can report positions."""
    return all(driver is not None and driver.tells_positions for driver in _drivers(cluster))


def has_replicas() -> bool:
    """Tell whether a cluster has a replica."""
    return any(cluster.replicas for cluster in clusters_or_none() or ())


def has_other_engines() -> bool:
    """Tell whether a database of a cluster with replicas has an engine that is not ours."""
    replicated = [cluster for cluster in clusters_or_none() or () if cluster.replicas]
    return any(None in _drivers(cluster) for cluster in replicated)


def _drivers(cluster: ClusterConfig) -> Iterator[type[Driver] | None]:
    for alias in cluster.aliases:
        yield _driver(databases()[alias])


def _driver(database: Mapping[str, Any]) -> type[Driver] | None:
    return getattr(backend(database["ENGINE"]), "driver_class", None)


def balancer(cluster: ClusterConfig) -> Balancer:
    """Return the cluster's balancer; raise ConfigError if it cannot be loaded."""
    if isinstance(cluster.balancer, str) and cluster.balancer in BALANCERS:
        return BALANCERS[cluster.balancer]
    return load(cluster.balancer, cluster.balancer_place)


def load(value: Any, where: str) -> Callable[..., Any]:
    """Return the callable that a dotted path names; raise ConfigError if there is none."""
    try:
        found = import_string(value) if isinstance(value, str) else value
    except Exception as error:  # a module may raise any exception when it is imported
        raise ConfigError(Problem(where, f"cannot import {value!r}: {error}.")) from error
    if not callable(found):
        raise ConfigError(Problem(where, f"{value!r} is not callable."))
    return cast("Callable[..., Any]", found)


def callable_path(value: Any) -> bool:
    """Tell whether an option names a callable instead of one of ours."""
    return callable(value) or "." in value


def namespace() -> str:
    """Return the name that tells this project's processes from others on the host."""
    chosen = _poolrouter().get("NAMESPACE")
    if chosen:
        return str(chosen)
    return salted_hmac("django_poolrouter.namespace", "", algorithm="sha256").hexdigest()[:12]


def runtime_dir() -> str | None:
    """Return the folder for the boards of processes; None if the settings name none."""
    chosen = _poolrouter().get("RUNTIME_DIR")
    return str(chosen) if chosen else None


def takes_instructions() -> bool:
    """Tell whether processes carry out the instructions of ``poolctl``."""
    return _poolrouter().get("CONTROL") is True


def problems() -> list[Problem]:
    """Return everything that is wrong in the settings that we read."""
    found: list[Problem] = []
    _collect(profiles, found)
    _collect(clusters, found)
    for alias, database in databases().items():
        if wrapper := backend(database["ENGINE"]):
            _collect(lambda a=alias, w=wrapper: check_backend(a, w), found)  # type: ignore[misc]
            _collect(lambda a=alias, d=database: pool_config(a, d), found)  # type: ignore[misc]
    # Report each problem once: a wrong profile makes every pool fail.
    return list(dict.fromkeys(found))


def improperly(error: ConfigError) -> ImproperlyConfigured:
    """Return the error as Django's own, for processes that run no system checks."""
    return ImproperlyConfigured(str(error))


def _own_problems() -> list[Problem]:
    """Return what is wrong in POOLROUTER itself."""
    value = getattr(settings, "POOLROUTER", {})
    if not isinstance(value, Mapping):
        text = f"must be a mapping, not {validation.shorten(value)}."
        return [Problem("POOLROUTER", text, f"Known: {', '.join(CHECKS)}.")]
    problems: list[Problem] = []
    validation.check_all("POOLROUTER", value, CHECKS, problems)
    return problems


def _poolrouter() -> Mapping[str, Any]:
    value = getattr(settings, "POOLROUTER", {})
    return value if isinstance(value, Mapping) else {}


def _collect(parse: Callable[[], T], problems: list[Problem]) -> T | None:
    try:
        return parse()
    except ConfigError as error:
        problems.extend(error.problems)
        return None


def forget(*, setting: str, **kwargs: Any) -> None:
    """Forget what was parsed from a setting that changed."""
    if setting in ("POOLROUTER", "DATABASES"):
        profiles.cache_clear()
        clusters.cache_clear()
        store.cache_clear()


setting_changed.connect(forget, dispatch_uid="django_poolrouter.conf")
