"""Backends made for one test, under an ENGINE of their own."""

from __future__ import annotations

import itertools
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

STOCK = {
    "sqlite": "django.db.backends.sqlite3.base",
    "postgresql": "django.db.backends.postgresql.base",
    "mariadb": "django.db.backends.mysql.base",
}
_numbers = itertools.count()


def stock_wrapper(vendor: str) -> Any:
    """Return Django's own DatabaseWrapper of a vendor."""
    return import_module(STOCK[vendor]).DatabaseWrapper


def engine_of(wrapper: type) -> str:
    """Return an ENGINE whose backend is this class; each call makes another one."""
    name = f"tests.engine_{next(_numbers)}"
    package, base = ModuleType(name), ModuleType(f"{name}.base")
    package.__path__ = []
    base.DatabaseWrapper = wrapper  # type: ignore[attr-defined]
    sys.modules |= {name: package, f"{name}.base": base}
    return name
