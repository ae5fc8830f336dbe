"""Trees of django-mptt, django-treebeard and wagtail, whose changes compute with nodes.

The nodes were read from a replica that lags, outside a transaction.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

from tests.integration.packages.conftest import APPS
from tests.integration.packages.scripts import need

try:
    VERSION = tuple(map(int, version("django-treebeard").split(".")[:1]))
except PackageNotFoundError:
    VERSION = (0,)
CHANGES = ["add", "move", "delete", "delete-moved"]
TREES = ["mptt", "treebeard", "wagtail"]
REMEDIED = [f"{change} in atomic" for change in CHANGES]
# What treebeard before 7 does with the node as it was read, although it has moved meanwhile.
OLD_NODES = {("treebeard", "delete-moved")} if VERSION < (7,) else set()
# It sends SQL of its own to the database that the node came from, and computes with what it has
# read there before.
REFUSED = {("mptt", "move"), ("mptt", "delete"), ("mptt", "delete-moved")}


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """The shapes of the trees.  For each package, one process makes all changes."""
    return {}


@pytest.mark.parametrize(
    ("package", "change"),
    [(package, change) for package in TREES for change in CHANGES + REMEDIED],
)
def test_tree__has_the_shape_that_it_has_with_one_database(
    site: Any, known: dict[str, Any], package: str, change: str
) -> None:
    need(package)
    if package not in known:
        what = ",".join([package, *CHANGES, *REMEDIED])
        alone = site.run("trees", APPS[package], what=what)
        lagging = site.run("trees", APPS[package], what=what, replicas=True, lag=True)
        known[package] = alone, lagging
    alone, lagging = known[package]
    if (package, change) in OLD_NODES:
        assert lagging[change] != alone[change]  # docs/objects.md says so
    elif (package, change) in REFUSED:
        assert "InternalError" in lagging[change]
        assert "do the whole change under using_primary() or in atomic()" in lagging[change]
    else:
        assert lagging[change] == alone[change]
