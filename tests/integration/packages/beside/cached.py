"""Lists that django-cachalot caches, of rows that are read from a replica."""

from __future__ import annotations

import time
from typing import Any

from .project import Site, play


def cached(site: Site) -> dict[str, Any]:
    from cachalot.api import invalidate
    from cachalot.signals import post_invalidation
    from django.conf import settings

    from .notes.models import Note

    def invalidate_replicas(sender: str, db_alias: str, **kwargs: Any) -> None:
        if db_alias == "default":
            for replica in site.replicas:
                invalidate(sender, db_alias=replica)

    if "receiver" in site.what:
        post_invalidation.connect(invalidate_replicas)

    def text() -> str:
        return Note.objects.get().text

    def seen() -> list[str]:
        """Return what the users of the replicas see, who take turns."""
        return sorted({site.asks(text) for _ in site.replicas})

    with site.process():
        Note.objects.all().delete()
        Note.objects.create(text="old")
    found: dict[str, Any] = {"warnings": site.warnings, "first": seen()}
    if site.lag:
        site.pause()
    with site.process():
        Note.objects.update(text="new")
    found["at once"] = seen()
    site.let_replicas_go()
    found["later"] = seen()
    time.sleep(getattr(settings, "CACHALOT_TIMEOUT", 0))
    found["in the end"] = seen()
    return found


if __name__ == "__main__":
    play(cached)
