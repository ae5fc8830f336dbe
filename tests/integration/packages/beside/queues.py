"""Runs the scripts that the order names, one after the other."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from .project import HERE, Site, play


def queues(site: Site) -> dict[str, Any]:
    scripts = {name: getattr(import_module(f"{HERE}.{name}"), name) for name in site.what.split()}
    return {name: site.attempt(partial(script, site)) for name, script in scripts.items()}


if __name__ == "__main__":
    play(queues)
