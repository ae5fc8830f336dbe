"""What tools that look at ENGINE make of ours."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

from .project import Site, play


def tools(site: Site) -> dict[str, Any]:
    from django.core.management import call_command

    found: dict[str, Any] = {"warnings": site.warnings}
    if site.what == "dbbackup":
        from dbbackup.db.base import get_connector

        found["connector"] = type(get_connector("default")).__name__
    else:
        with redirect_stdout(io.StringIO()) as out:
            call_command("sqldsn", style="uri", quiet=True)
        found["dsn"] = out.getvalue().strip().partition("://")[0]
    return found


if __name__ == "__main__":
    play(tools)
