"""Our commands add to those that other packages bring, and do not replace them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.core.management.commands import migrate

from django_poolrouter.management.behind import command_behind

COMMAND = """
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    is_theirs = True
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An app with a `migrate` of its own, as django-tenants has one."""
    commands = tmp_path / "their_app" / "management" / "commands"
    commands.mkdir(parents=True)
    for folder in (commands.parents[1], commands.parent, commands):
        (folder / "__init__.py").touch()
    (commands / "migrate.py").write_text(COMMAND)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield SimpleNamespace(label="their_app", name="their_app", path=str(tmp_path / "their_app"))
    for name in [name for name in sys.modules if name.startswith("their_app")]:
        del sys.modules[name]


OURS = SimpleNamespace(label="poolrouter", name="django_poolrouter", path="/nowhere")


def test_command_of_an_app_after_ours__is_extended(
    theirs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "get_app_configs", lambda: [OURS, theirs])
    assert command_behind("migrate").is_theirs


def test_command_of_an_app_before_ours__is_not_asked(
    theirs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django runs that one, and ours not at all."""
    monkeypatch.setattr(apps, "get_app_configs", lambda: [theirs, OURS])
    assert command_behind("migrate") is migrate.Command
