"""System check of the settings that do not make a pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, Warning

from .. import conf
from ..process.registry import IDENTITY
from ..validation import did_you_mean

# What Django documents in an entry, besides the settings that make a pool.
DJANGO = {
    "ATOMIC_REQUESTS",
    "AUTOCOMMIT",
    "CONN_HEALTH_CHECKS",
    "CONN_MAX_AGE",
    "DISABLE_SERVER_SIDE_CURSORS",
    "PASSWORD",
    "TEST",
}
OURS = {"ROUTER", "POOL_OPTIONS"}  # the latter is reported as W014
KNOWN = {*IDENTITY, *DJANGO, *OURS}


def check_identity() -> Iterator[CheckMessage]:
    """Warn of each setting of a pooled database that is not declared."""
    for alias, database in conf.databases().items():
        for key in sorted(_undeclared(alias, dict(database)), key=str):
            guess = did_you_mean(key, KNOWN - {conf.TEST_MIRROR})
            yield Warning(
                f"DATABASES[{alias!r}] has {key!r}, which is not a setting of Django. Two wrappers "
                "of this database that differ in it alone share their connections.",
                hint=f"{guess} If connections are opened by it, name it in identity_settings of "
                "the backend's class. If not, silence this warning.".strip(),
                id="poolrouter.W015",
            )


def _undeclared(alias: str, database: Mapping[str, Any]) -> set[str]:
    """Return the keys of an entry that neither Django, nor we, nor its backend declare.

    Keys that the backend writes into the settings of each new wrapper are left out, because the
    project did not write them.  django-tenants writes SCHEMA there, and sets the schema again after
    each checkout.
    """
    backend: Any = conf.backend(database["ENGINE"])
    if backend is None or conf.pool_config_or_none(alias, database) is None:
        return set()
    declared = {*KNOWN, *backend.identity_settings}
    unknown = set(database) - declared
    entry = {key: value for key, value in database.items() if key in declared}
    try:
        is_pooled = not unknown or backend(entry, alias).can_be_pooled(entry)
    except Exception:  # a key that the class needs is missing, so the class does not write it
        return unknown
    return unknown - set(entry) if is_pooled else set()
