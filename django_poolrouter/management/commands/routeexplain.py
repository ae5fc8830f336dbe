"""manage.py routeexplain: where a query would go, and what a statement is taken for, and why."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model

from django_poolrouter.process.registry import registry
from django_poolrouter.router import PoolRouter
from django_poolrouter.routing import Cluster, Decision, reasons, scope
from django_poolrouter.sql.kinds import Kind, classify
from django_poolrouter.sql.marks import TABLES, Mark
from django_poolrouter.status.table import align
from django_poolrouter.validation import did_you_mean

# What each kind of mark says of a session.
_LEFT = {
    "setting": "a setting",
    "variable": "a user's variable",
    "lock": "a lock",
    "listen": "a channel that it listens to",
    "statement": "a prepared statement",
    "temporary": "a temporary table or another temporary object",
    "attached": "a database or library that is attached",
    "cursor": "a cursor",
    "doubt": "in doubt: perhaps anything",
}


class Command(BaseCommand):
    """Asks the routers as Django does, in a new scope, or looks at the text of a statement."""

    help = (
        "Explains where a query of a model would go, outside of transactions and before any "
        "write; or with --sql what a statement is taken for."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("model", metavar="app.Model", nargs="?")
        parser.add_argument("--write", action="store_true", help="Explain a write, not a read.")
        parser.add_argument("--sql", metavar="STATEMENT", help="Explain the text of a statement.")
        parser.add_argument(
            "--database",
            metavar="ALIAS",
            help="With --sql: the alias whose vendor reads the statement, by default 'default'.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what is known of a model's queries or of a statement."""
        model, sql = options["model"], options["sql"]
        if (model is None) == (sql is None):
            raise CommandError("Name either a model or a statement with --sql.")
        if sql is None and options["database"]:
            raise CommandError("--database needs --sql. The routers choose a model's database.")
        if sql is not None and options["write"]:
            raise CommandError("--write needs a model. The text says whether --sql writes.")
        if sql is None:
            self._explain_model(_model(model), options["write"])
        else:
            self._explain_sql(sql, options["database"] or DEFAULT_DB_ALIAS)

    def _explain_sql(self, sql: str, alias: str) -> None:
        """Print what a statement is taken for on the vendor of an alias."""
        if alias not in connections.settings:
            hint = did_you_mean(alias, connections.settings)
            raise CommandError(f"Database {alias!r} not configured. {hint}".strip())
        vendor = connections[alias].vendor
        kind = classify(sql, vendor)
        self.stdout.write(self.style.MIGRATE_HEADING(f"On {vendor} it is {_named(kind)}."))
        self.stdout.write(f"Why: {kind.why}.")
        left = (
            _left(kind.mark) if vendor in TABLES else f"not known, {vendor} has no table of marks"
        )
        self.stdout.write(f"It leaves in the session: {left}.")

    def _explain_model(self, model: type[Model], write: bool) -> None:
        """Print the answer of each router, and the rules of our own."""
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


def _named(kind: Kind) -> str:
    if kind.is_write:
        return "a write: later reads of the scope go to the primary"
    if kind.is_query:
        return "a read that another server may answer"
    return "neither a write nor a read that another server may answer"


def _left(mark: Mark | None) -> str:
    if mark is None:
        return "nothing"
    return f"{_LEFT[mark.kind]} ({mark.setting})" if mark.setting else _LEFT[mark.kind]


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
