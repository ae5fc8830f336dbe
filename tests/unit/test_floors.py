"""The ground floor stands alone, and importing the package costs and needs nothing."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import django_poolrouter

ROOT = Path(__file__).parents[2]
PUBLIC = [
    *("PoolProfile", "PoolConfig", "PoolStatus", "pools", "MultiDatabasePool", "DatabasePool"),
    *(
        "clusters",
        "ReadWritePool",
        "ReplicaUnavailable",
        "PoolHealthMonitor",
        "PoolHealth",
        "PoolManager",
    ),
    *("PoolError", "PoolTimeout", "PoolClosed", "PoolExhausted"),
    *("scope", "carry_scope", "routed", "using_primary", "using_replica"),
]


def run(code: str, *options: str) -> Any:
    """Run code in a fresh interpreter without any settings; return what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", code],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


WITHOUT = """
import json, sys
for name in ("django", "asgiref", "psycopg", "psycopg2", "MySQLdb", "pymysql"):
    sys.modules[name] = None
"""


@pytest.mark.parametrize("floor", ["pooling", "routing"])
def test_ground_floor__imports_without_django_and_drivers(floor: str) -> None:
    loaded = run(
        WITHOUT + f"import django_poolrouter.{floor} as floor\n"
        "for name in floor.__all__: getattr(floor, name)\n"
        "print(json.dumps([n for n in sys.modules if n.startswith('django_poolrouter.')]))"
    )
    floors = {name.split(".")[1] for name in loaded}
    assert floors <= {floor, "validation", "sql"}


def test_ground_floor__routes_without_django() -> None:
    code = """
from django_poolrouter.routing import BALANCERS, Cluster, Topology, current_scope, parse_clusters
entries = {"default": {}, "replica1": {"REPLICA_OF": "default"}}
cluster = Cluster(*parse_clusters(entries, {}), BALANCERS["round_robin"])
owner = Topology([cluster]).owner("shop", "book")
print(json.dumps(owner.decide_read(current_scope(), lambda alias: False).alias))
"""
    assert run(WITHOUT + code) == "replica1"


def test_package__imports_nothing_but_the_standard_library() -> None:
    loaded = run(
        "import sys; before = set(sys.modules)\n"
        "import django_poolrouter, json\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    tops = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert tops == {"django_poolrouter"}
    assert [name for name in loaded if name.startswith("django_poolrouter.")] == []


def test_public_names__import_without_settings() -> None:
    names = ", ".join(PUBLIC)
    loaded = run(
        f"import json, sys\nfrom django_poolrouter import {names}\n"
        "from django.conf import settings\n"
        "drivers = [n for n in ('psycopg', 'MySQLdb') if n in sys.modules]\n"
        "print(json.dumps([settings.configured, drivers]))"
    )
    assert loaded == [False, []]


def test_public_names__are_those_of_the_contract() -> None:
    assert set(django_poolrouter.__all__) == set(PUBLIC)
    assert set(PUBLIC) <= set(dir(django_poolrouter))
    for name in PUBLIC:
        assert getattr(django_poolrouter, name) is getattr(django_poolrouter, name)


def test_unknown_name__is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'django_poolrouter' has no attribute 'pool'"):
        _ = django_poolrouter.pool  # type: ignore[attr-defined]


# -- the plan of the house -------------------------------------------------------------------

PACKAGE = ROOT / "django_poolrouter"


def test_top__has_faces_alone() -> None:
    """Modules that Django or a user names, and `validation`; all else has a room."""
    assert {path.stem for path in PACKAGE.glob("*.py")} == {
        *("__init__", "apps", "conf", "errors", "jobs", "middleware", "router", "signals"),
        *("stores", "test", "validation"),
    }


@pytest.mark.parametrize(
    "room", sorted(str(p.parent.relative_to(PACKAGE)) for p in PACKAGE.glob("*/**/__init__.py"))
)
def test_room__says_what_it_is_about_and_who_may_import_it(room: str) -> None:
    told = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
    assert re.search(r"import|INSTALLED_APPS", told), told


def test_types__point_down_too() -> None:
    """Import-linter keeps the floors: it must see the imports of annotations."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert "exclude_type_checking_imports" not in linter
    layers = next(c for c in linter["contracts"] if c["type"] == "layers")["layers"]
    assert len(layers) <= 8
