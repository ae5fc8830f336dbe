"""Results of groups of Celery's tasks in django-celery-results."""

from __future__ import annotations

from typing import Any

from .project import Site

JSON = ("application/json", "utf-8")


def groups(site: Site) -> dict[str, Any]:
    from django.db import router
    from django_celery_results.models import GroupResult

    def result() -> str:
        return str(GroupResult.objects.get_group("all").result)

    with site.process():
        GroupResult.objects.all().delete()
    site.let_replicas_lag()
    found: dict[str, Any] = {"read from": site.asks(lambda: router.db_for_read(GroupResult))}
    for stored in ("first", "second"):
        with site.process():
            GroupResult.objects.store_group_result(*JSON, "all", stored)
        found[stored] = site.asks(result)
    with site.process():
        GroupResult.objects.delete_expired(0)
    found["expired"] = site.asks(GroupResult.objects.count)
    return found
