"""A block under an alias, and what a thread beside it caches in the meantime."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .project import Site, play


def cached_block(site: Site) -> dict[str, Any]:
    from django.db import connections, transaction

    from .notes.models import Note

    def text() -> str:
        try:
            return Note.objects.using("default").get().text
        finally:
            connections.close_all()

    def seen() -> str:
        """Return what others read from the primary."""
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(text).result()

    with site.process():
        Note.objects.all().delete()
        Note.objects.create(text="old")
    found = {"first": seen()}
    with site.process():
        alias = "default" if site.what == "named" else Note.objects.db
        with transaction.atomic(using=alias):
            Note.objects.update(text="new")
            found["inside"] = seen()
    found["after"] = seen()
    return found


if __name__ == "__main__":
    play(cached_block)
