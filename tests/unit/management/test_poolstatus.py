"""poolstatus, called by a program."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import call_command

from django_poolrouter.pooling.descriptors import Descriptor


class Broken(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_broken_pipe_of_the_caller__leaves_its_standard_output_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stdout").open("w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        descriptor = Descriptor(stdout.fileno())
        call_command("poolstatus", stdout=Broken())
        assert descriptor.is_intact
