"""manage.py routeexplain: where a query would go, and why, rule by rule."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, router
from django.db.models import Model

from django_poolrouter.process.registry import registry
from django_poolrouter.router import PoolRouter
from django_poolrouter.routing import Cluster, Decision, reasons, scope
from django_poolrouter.status.table import align


class Command(BaseCommand):
    """Asks the routers as Django does, in a new scope."""

    help = "Explains where a query would go, outside of transactions and before any write."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("model", metavar="app.Model")
        parser.add_argument("--write", action="store_true", help="Explain a write, not a read.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the answer of each router, and the rules of our own."""
        model, write = _model(options["model"]), options["write"]
        operation = "write" if write else "read"
        with scope():
            for each in router.routers:
                decision = _decision_of(each, model, operation)
                if decision is not None:
                    break
                self.stdout.write(f"{_name(each)} gives no answer.")
            else:
                decision = Decision(DEFAULT_DB_ALIAS, "no router gives an answer")
        line = (
            f"A {operation} of {model._meta.label} goes to {decision.alias!r}: {decision.reason}."
        )
        self.stdout.write(self.style.MIGRATE_HEADING(line))
        cluster = registry.topology.by_alias.get(decision.alias)
        if cluster is not None:
            self.stdout.write(_describe(cluster))
        rules = () if write else reasons.READ
        if decision.reason in rules:
            self.stdout.write("")
            for row in align([("RULE", "HOLDS"), *_rows(rules, decision.reason)]):
                self.stdout.write(row)


def _model(label: str) -> type[Model]:
    try:
        return apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise CommandError(f"{error} Name it as app_label.ModelName.") from error


def _decision_of(each: Any, model: type[Model], operation: str) -> Decision | None:
    if isinstance(each, PoolRouter):
        explain = each.explain_write if operation == "write" else each.explain_read
        return explain(model)
    method = getattr(each, f"db_for_{operation}", None)
    alias = method(model) if method else None
    return Decision(alias, f"{_name(each)} says so") if alias else None


def _name(each: Any) -> str:
    return f"{type(each).__module__}.{type(each).__qualname__}"


def _describe(cluster: Cluster) -> str:
    replicas = ", ".join(map(repr, cluster.replicas)) or "none"
    return f"Its cluster: primary {cluster.primary!r}, replicas {replicas}."


def _rows(rules: Sequence[str], reason: str) -> Iterator[tuple[str, str]]:
    """Yield each rule and whether it holds.  Rules after the first that holds are not tried."""
    held = rules.index(reason)
    for place, rule in enumerate(rules):
        yield rule, "no" if place < held else "yes" if place == held else "-"
