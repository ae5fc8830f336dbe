"""Tests that lack a program: skipped on a developer's machine, and failed in CI."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import NoReturn

import pytest

NOT_TESTED = "NOT TESTED: "
"""Begins the reason of a skip that the end of a run repeats (see ``tests.servers.fixtures``)."""


def missing(what: str) -> NoReturn:
    """Skip a test, or fail it in CI; `what` names what is missing and says how to get it."""
    if is_required():
        pytest.fail(what, pytrace=False)
    pytest.skip(f"{NOT_TESTED}{what}", allow_module_level=True)


def require_package(name: str) -> None:
    """Skip a test or a module that needs this package, or fail it in CI."""
    if find_spec(name) is None:
        missing(f"{name} (not installed; pip install {name})")


def require_program(name: str, package: str) -> str:
    """Return the path of a program; without it, skip the test or, in CI, fail it.

    `package` is the one of Debian that has the program.
    """
    path = shutil.which(name)
    if path is None:
        missing(f"{name} (not found; install {package})")
    return path


def is_required() -> bool:
    """Tell whether every program must be there."""
    environment = os.environ
    return environment.get("CI") == "true" or environment.get("POOLROUTER_REQUIRE_SERVERS") == "1"
