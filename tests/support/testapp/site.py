"""Two clusters on real servers, and a witness of where queries run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connections
from django.db.backends.signals import connection_created
from django.db.models.expressions import RawSQL

from tests.servers import Cluster
from tests.support.databases import ENGINES
from tests.support.testapp.billing.models import Invoice, Label, Tariff
from tests.support.testapp.orders.models import Line, Order
from tests.support.testapp.shop.models import Author, Book, Note, Tag

STOCK_ENGINES = {
    "postgresql": "django.db.backends.postgresql",
    "mariadb": "django.db.backends.mysql",
}
PORT = {"postgresql": "inet_server_port()", "mariadb": "@@port"}
# Alias -> its cluster and its server.
NODES = {
    "default": ("default", "primary"),
    "replica1": ("default", "replica1"),
    "replica2": ("default", "replica2"),
    "orders": ("orders", "primary"),
    "orders1": ("orders", "replica1"),
}
ROUTERS: dict[str, dict[str, Any]] = {
    "replica1": {"REPLICA_OF": "default"},
    "replica2": {"REPLICA_OF": "default"},
    "orders": {"APPS": ["orders", "billing.Invoice", "billing.Label"]},
    "orders1": {"REPLICA_OF": "orders"},
}
OURS = ("shop_", "orders_", "billing_")


def on_sqlite(folder: Path) -> dict[str, Any]:
    """Return DATABASES whose replicas open the files of their primaries."""
    return {
        alias: {
            "ENGINE": ENGINES["sqlite"],
            "NAME": str(folder / f"{name}.sqlite3"),
            "ROUTER": ROUTERS.get(alias, {}),
        }
        for alias, (name, _) in NODES.items()
    }


class Site:
    """The apps of the tests on two clusters: `default` with two replicas, `orders` with one.

    Where the servers have a single replica, both of `default` are on it.
    """

    def __init__(self, kind: str, servers: Cluster, name: str = "routing") -> None:
        self.kind = kind
        self.servers = servers
        self.names = {"default": name, "orders": f"{name}_orders"}
        for database in self.names.values():
            servers.create_database(database)

    def databases(self, *, stock: bool = False, **routers: Any) -> dict[str, Any]:
        """Return DATABASES, with more options for the ROUTER entries of aliases."""
        engine = (STOCK_ENGINES if stock else ENGINES)[self.kind]
        return {
            alias: {
                "ENGINE": engine,
                **self.servers.settings(self.node(alias), self.names[cluster]),
                "ROUTER": {**ROUTERS.get(alias, {}), **routers.get(alias, {})},
            }
            for alias, (cluster, _) in NODES.items()
        }

    def node(self, alias: str) -> str:
        """Return the server that an alias is on."""
        node = NODES[alias][1]
        return node if node in self.servers.nodes else "replica1"

    def port(self, alias: str) -> int:
        """Return the port of the server that an alias is on."""
        return self.servers.ports[self.node(alias)]

    def asked_port(self) -> RawSQL:
        """Return an expression by which the server that runs a query tells its port."""
        return RawSQL(PORT[self.kind], ())  # noqa: S611

    def migrate(self) -> None:
        """Make all tables, on the primaries; Django's settings are those of `databases`."""
        for alias in ("default", "orders"):
            call_command("migrate", database=alias, run_syncdb=True, verbosity=0)

    def tables(self, alias: str) -> set[str]:
        """Return the tables of the tests' apps on an alias."""
        with connections[alias].cursor() as cursor:
            names = connections[alias].introspection.table_names(cursor)
        return {name for name in names if name.startswith(OURS)}

    def seed(self) -> None:
        """Make rows that no test changes; every replica has them when this returns."""
        self.author = Author.objects.create(name="Ada")
        self.tag = Tag.objects.create(name="red")
        for number in range(3):
            book = Book.objects.create(title=f"Seed {number}", author=self.author)
            book.tags.add(self.tag)
            Note.objects.create(text="good", target=book)
        self.book = book
        self.tariff = Tariff.objects.create(name="cheap")
        self.order = Order.objects.create(number=1)
        self.line = Line.objects.create(order=self.order, text="one")
        self.invoice = Invoice.objects.create(number=1)
        self.label = Label.objects.create(name="paid")
        self.invoice.labels.add(self.label)
        self.wait()

    def wait(self) -> None:
        """Return when the replicas have everything."""
        self.servers.wait_for_replicas()


class Ran(list[tuple[str, str]]):
    """Alias and SQL of each query that ran, without what only opens and ends transactions."""

    @property
    def aliases(self) -> list[str]:
        return [alias for alias, _ in self]

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.aliases)


QUERY = re.compile(r"\W*(select|insert|update|delete|replace|with|explain)\b", re.IGNORECASE)


@contextmanager
def witness() -> Iterator[Ran]:
    """Record the queries of all connections, in whatever thread."""
    ran = Ran()
    watched: list[Any] = []

    def note(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        if QUERY.match(str(sql)):
            ran.append((context["connection"].alias, str(sql)))
        return execute(sql, params, many, context)

    def watch(connection: Any, **kwargs: Any) -> None:
        if note not in connection.execute_wrappers:
            connection.execute_wrappers.append(note)
            watched.append(connection)

    for connection in connections.all(initialized_only=True):
        watch(connection)
    connection_created.connect(watch)
    try:
        yield ran
    finally:
        connection_created.disconnect(watch)
        for connection in watched:
            connection.execute_wrappers.remove(note)


def where(work: Callable[[], object]) -> list[str]:
    """Return the aliases that the queries of a piece of work ran on."""
    with witness() as ran:
        work()
    return ran.aliases
