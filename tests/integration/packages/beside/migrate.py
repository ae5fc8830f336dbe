"""Makes the tables of the site's apps."""

from __future__ import annotations

from typing import Any

from .project import Site, play


def migrate(site: Site) -> dict[str, Any]:
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)
    site.wait()
    return {}


if __name__ == "__main__":
    play(migrate)
