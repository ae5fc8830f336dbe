"""Every dotted path that the docs name can be imported: users type them."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.test import modify_settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Loggers that no module is named after.
LOGGERS = {"django_poolrouter.pool"}
#: Where they are named in no page, but are part of the contract.
CONTRACT = {
    "django_poolrouter.backends.mixin.PooledDatabaseWrapper",
    "django_poolrouter.backends.postgresql.base.PsycopgDriver",
    "django_poolrouter.middleware.RoutingMiddleware",
    "django_poolrouter.router.PoolRouter",
    "django_poolrouter.test.assert_routed_to",
}


def documented() -> set[str]:
    text = "\n".join(page.read_text() for page in PAGES)
    paths = set(re.findall(r"\bdjango_poolrouter(?:\.[A-Za-z_]\w*)+", text))
    for module, names in re.findall(
        r"^from (django_poolrouter[\w.]*) import (.+)$", text, re.MULTILINE
    ):
        paths |= {f"{module}.{name.strip()}" for name in names.split("#")[0].split(",")}
    return paths - LOGGERS


def find(path: str) -> Any:
    """Return the module or attribute that a path names."""
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not path.startswith(error.name):
            raise
    module, _, name = path.rpartition(".")
    return getattr(find(module), name)


@pytest.mark.parametrize("path", sorted(documented() | CONTRACT))
@modify_settings(INSTALLED_APPS={"append": ["django_poolrouter.contrib.admin"]})
def test_documented_path__can_be_imported(path: str) -> None:
    try:
        find(path)
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "django_poolrouter":
            raise
        pytest.skip(f"needs a package that is not installed here: {error}")


def test_docs__name_paths() -> None:
    assert len(documented()) > 20
