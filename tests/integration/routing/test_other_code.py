"""Code that knows nothing of replicas: it does what it does with one database, or is refused.

PostgreSQL's replicas are real, those of SQLite open the file of their primary.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, models, router, transaction
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.expressions import RawSQL
from django.db.models.signals import post_migrate
from django.db.transaction import TransactionManagementError
from django.db.utils import Error, IntegrityError
from django.forms import modelform_factory
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from django_poolrouter import carry_scope, pools, routed, scope, using_primary, using_replica
from django_poolrouter.routing import Scope
from tests.support.databases import configured
from tests.support.testapp.shop.models import Author, Tag
from tests.support.testapp.site import Site, on_sqlite, where

PAUSE = "SELECT pg_wal_replay_pause()"
RESUME = "SELECT pg_wal_replay_resume()"


@pytest.fixture(scope="module")
def postgresql_site(
    postgresql: Any, django_db_blocker: Any, request: pytest.FixtureRequest
) -> Site:
    # Each module that imports the fixture has databases of its own.
    site = Site("postgresql", postgresql, request.module.__name__.rpartition(".test_")[2])
    with django_db_blocker.unblock(), configured(site.databases()), scope():
        site.migrate()
        site.seed()
        connections.close_all()
    return site


class Replicated:
    """Apps on two clusters with replicas."""

    def __init__(self, site: Site | None, databases: Callable[..., dict[str, Any]]) -> None:
        self.site = site
        self.databases = databases

    def lag(self, test: pytest.FixtureRequest) -> None:
        """Let the replicas stand still until the test is over."""
        assert self.site is not None
        self.site.wait()
        servers = self.site.servers
        for node in servers.replicas:
            servers.sql(node, PAUSE)
            test.addfinalizer(partial(servers.sql, node, RESUME))


@pytest.fixture(params=["postgresql", "sqlite"])
def replicated(request: pytest.FixtureRequest, use_databases: Any, tmp_path: Path) -> Any:
    """The apps, with a scope as of a thread that did nothing yet."""
    settings = {
        "MIDDLEWARE": ["django_poolrouter.middleware.RoutingMiddleware"],
        "ROOT_URLCONF": __name__,
        "ALLOWED_HOSTS": ["testserver"],
    }
    if request.param == "sqlite":
        made = Replicated(None, partial(on_sqlite, tmp_path))
    else:
        site = request.getfixturevalue("postgresql_site")
        made = Replicated(site, site.databases)
    use_databases(made.databases(), **settings)
    if made.site is None:
        for alias in ("default", "orders"):
            call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
        with scope():
            Author.objects.create(name="Ada")
    with scope(Scope(sticky=False)):
        yield made
        connections.close_all()
    if made.site is not None:
        made.site.wait()


pytestmark = pytest.mark.usefixtures("replicated")


def routed_alias() -> str:
    """Return the alias that the router chooses for a read, as applications ask for it."""
    alias = Tag.objects.db
    assert alias in ("replica1", "replica2")
    return alias


def exists(name: str) -> bool:
    return Tag.objects.using("default").filter(name=name).exists()


# -- transactions on an alias that the router chose ---------------------------------------


def test_block_on_a_chosen_alias__is_rolled_back() -> None:
    with suppress(ZeroDivisionError), transaction.atomic(using=Tag.objects.db):
        Tag.objects.create(name="undone")
        raise ZeroDivisionError
    assert not exists("undone")
    with transaction.atomic(using=Tag.objects.db):
        Tag.objects.create(name="kept")
    assert exists("kept")
    Tag.objects.using("default").filter(name="kept").delete()


@pytest.mark.parametrize(
    "alias",
    [
        lambda: Tag.objects.all().db,
        lambda: router.db_for_read(Tag),
        lambda: Author.objects.first()._state.db,
    ],
    ids=["queryset", "router", "object"],
)
def test_block_on_an_alias_that_the_router_told__is_rolled_back(alias: Any) -> None:
    with suppress(ZeroDivisionError), transaction.atomic(using=alias()):
        Tag.objects.create(name="undone")
        raise ZeroDivisionError
    assert not exists("undone")


def test_all_of_a_transaction__is_on_the_primary_under_a_chosen_alias() -> None:
    """Nested blocks, savepoints, hooks, locks and reads, each with the alias of the block."""
    alias, ran = routed_alias(), []
    with transaction.atomic(using=alias):
        Tag.objects.create(name="outer")
        with suppress(ZeroDivisionError), transaction.atomic(using=alias):
            Tag.objects.create(name="inner")
            transaction.on_commit(lambda: ran.append("never"), using=alias)
            raise ZeroDivisionError
        connection = transaction.get_connection(alias)
        sid = connection.savepoint()
        Tag.objects.create(name="savepoint")
        connection.savepoint_rollback(sid)
        transaction.on_commit(lambda: ran.append(exists("outer")), using=alias)
        seen = Tag.objects.using(alias).filter(name__in=["outer", "inner", "savepoint"])
        assert [tag.name for tag in seen] == ["outer"]
        assert list(Tag.objects.select_for_update().filter(name="outer"))
        assert not transaction.get_autocommit(using=alias)
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM shop_tag WHERE name = 'outer'")
            assert cursor.fetchone() == (1,)
        assert ran == []
    assert ran == [True]
    assert transaction.get_autocommit(using=alias)
    Tag.objects.using("default").filter(name="outer").delete()


def test_error_in_such_a_block__is_the_primarys() -> None:
    alias = routed_alias()
    Tag.objects.create(name="taken")
    with transaction.atomic(using=alias):
        with pytest.raises(IntegrityError) as caught, transaction.atomic(using=alias):
            Tag(name="taken").save(using=alias)
        assert not hasattr(caught.value, "__notes__")
    Tag.objects.using("default").filter(name="taken").delete()


def test_rollback__can_be_asked_for_under_a_chosen_alias() -> None:
    alias = routed_alias()
    with transaction.atomic(using=alias):
        Tag.objects.create(name="undone")
        transaction.set_rollback(True, using=alias)
    assert not exists("undone")


def test_locking_queryset_of_a_chosen_alias__is_in_its_block() -> None:
    alias = routed_alias()
    with transaction.atomic(using=alias):
        assert where(lambda: list(Author.objects.using(alias).select_for_update())) == ["default"]


def test_write_that_names_a_chosen_alias__is_in_its_block() -> None:
    alias = routed_alias()
    with suppress(ZeroDivisionError), transaction.atomic(using=alias):
        Tag(name="undone").save(using=alias)
        with connections[alias].cursor() as cursor:
            cursor.execute("INSERT INTO shop_tag (name) VALUES ('raw')")
        raise ZeroDivisionError
    assert not exists("undone")
    assert not exists("raw")


def test_durable_block_on_a_chosen_alias__is_the_outermost() -> None:
    block = transaction.atomic(using=Tag.objects.db, durable=True)
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"), block:
        pass


def test_block_of_using_replica__stays_on_the_replica() -> None:
    with using_replica(), transaction.atomic(using=routed_alias()):
        assert where(lambda: list(Tag.objects.all())) == ["replica1"]
        assert connections["replica1"].in_atomic_block
        assert not connections["default"].in_atomic_block


@pytest.mark.parametrize(
    "write",
    [
        lambda: Tag.objects.create(name="astray"),
        lambda: Tag.objects.filter(name="x").update(name="astray"),
        lambda: Author.objects.filter(books=None).delete(),
        lambda: Tag.objects.bulk_create([Tag(name="astray")]),
        lambda: (
            connections["default"].cursor().execute("INSERT INTO shop_tag (name) VALUES ('astray')")
        ),
    ],
    ids=["create", "update", "delete", "bulk_create", "raw"],
)
def test_write_beside_a_block_on_a_named_replica__is_refused(write: Any) -> None:
    """It would be committed at once, although a transaction is open."""
    author = Author.objects.create(name="without books")
    refused = pytest.raises(TransactionManagementError, match=r"=router\.db_for_write\(Model\)")
    with refused, transaction.atomic(using="replica1"):
        write()
    assert not exists("astray")
    author.delete()  # it is still there


@pytest.mark.parametrize("wish", [using_primary, using_replica], ids=["primary", "replica"])
def test_write_that_is_wanted_beside_a_block_on_a_replica__passes(wish: Any) -> None:
    with transaction.atomic(using="replica1"), wish():
        Tag.objects.create(name="wanted")
    assert exists("wanted")
    with transaction.atomic(using="replica1"), transaction.atomic():
        Tag.objects.filter(name="wanted").delete()
    assert not exists("wanted")


def test_row_level_security_on_a_replica__goes_on_working(replicated: Replicated) -> None:
    from django.contrib.sessions.backends.db import SessionStore

    if replicated.site is None:
        pytest.skip("SQLite has no set_config()")
    Tag.objects.first()
    with transaction.atomic(using="replica1"):
        with connections["replica1"].cursor() as cursor:
            cursor.execute("SELECT set_config('app.user_id', '7', true)")
        store = SessionStore()
        store["user"] = 7
        store.save()
        assert Tag.objects.using("replica1").exists()
        with connections["replica1"].cursor() as cursor:
            cursor.execute("SELECT current_setting('app.user_id')")
            assert cursor.fetchone() == ("7",)
    assert SessionStore(store.session_key)["user"] == 7


@pytest.mark.parametrize(
    "query",
    [
        lambda: Tag.objects.raw("INSERT INTO shop_tag (name) VALUES ('x')"),
        lambda: Tag.objects.raw("SELECT id FROM shop_tag FOR SHARE"),
        lambda: Tag.objects.annotate(n=RawSQL("nextval('shop_tag_id_seq')", ())),
    ],
    ids=["write", "lock", "sequence"],
)
def test_refusal_by_a_replica__names_the_remedy(replicated: Replicated, query: Any) -> None:
    if replicated.site is None:
        pytest.skip("a lock and a sequence of PostgreSQL")
    with pytest.raises(Error) as caught:
        list(query())
    remedy = "Do not name a database, so that the router chooses it, or name 'default'."
    assert remedy in caught.value.__notes__[0]


# -- migrations and commands ---------------------------------------------------------------


def test_historical_models__are_read_from_the_primary() -> None:
    state = ProjectState()
    state.add_model(ModelState("shop", "Tag", [("id", models.BigAutoField(primary_key=True))]))
    assert where(state.apps.get_model("shop", "Tag").objects.count) == ["default"]


def test_migrate__reads_from_the_primary() -> None:
    """So does what an application does in receivers and migrations with its own models."""
    found: list[str] = []

    def read(**kwargs: Any) -> None:
        found.extend(where(Tag.objects.count))

    post_migrate.connect(read)
    try:
        call_command("migrate", database="default", verbosity=0)
    finally:
        post_migrate.disconnect(read)
    assert set(found) == {"default"}


@pytest.mark.parametrize("command", ["loaddata", "flush"])
def test_command__refuses_a_replica(command: str, tmp_path: Path) -> None:
    fixture = tmp_path / "rows.json"
    fixture.write_text("[]")
    arguments: Any = [str(fixture)] if command == "loaddata" else ["--noinput"]
    with pytest.raises(CommandError, match=r"'replica1' is a replica of 'default'.*=default\."):
        call_command(command, *arguments, database="replica1", verbosity=0)


# -- requests that change something ---------------------------------------------------------


def form(request: HttpRequest) -> HttpResponse:
    """Judge a form that wants a unique name, as most views do."""
    bound = modelform_factory(Tag, fields=["name"])(request.POST or request.GET)
    return HttpResponse("valid" if bound.is_valid() else "taken")


def reads(request: HttpRequest) -> HttpResponse:
    return HttpResponse(",".join(where(Tag.objects.count)))


def usual(request: HttpRequest) -> HttpResponse:
    @routed
    def decorated() -> list[str]:
        return where(Tag.objects.count)

    with routed():
        return HttpResponse(",".join([*where(Tag.objects.count), *decorated()]))


def in_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def in_executor(function: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as executor:
        executor.submit(function).result()


def write_in_thread(request: HttpRequest) -> HttpResponse:
    """Write as a view does that hands its work to a thread."""

    def write() -> None:
        Tag.objects.create(name="by a thread")
        connections.close_all()

    {"thread": in_thread, "executor": in_executor}[request.GET["run"]](carry_scope(write))
    return HttpResponse(",".join(where(Tag.objects.count)))


urlpatterns = [
    path("in_thread", write_in_thread),
    path("form", form),
    path("reads", reads),
    path("usual", usual),
]


def test_form__is_judged_by_the_primary(
    replicated: Replicated, request: pytest.FixtureRequest
) -> None:
    if replicated.site is None:
        pytest.skip("a replica on SQLite never lags")
    replicated.lag(request)
    with scope():
        Tag.objects.create(name="fresh")
    try:
        assert Client().post("/form", {"name": "fresh"}).content == b"taken"
        assert Client().get("/form", {"name": "fresh"}).content == b"valid"
    finally:
        Tag.objects.using("default").filter(name="fresh").delete()


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_request_that_may_change_something__reads_from_the_primary(method: str) -> None:
    client = Client()
    answer = getattr(client, method)("/reads")
    assert answer.content == b"default"
    assert not client.cookies
    assert client.get("/reads").content.startswith(b"replica")


def test_routed__restores_the_usual_rules() -> None:
    answer = Client().post("/usual").content.decode()
    assert [alias[:7] for alias in answer.split(",")] == ["replica", "replica"]


def test_read_of_an_unsafe_request__is_counted() -> None:
    def counted() -> int:
        return pools["default"].status().unsafe_reads

    Client().get("/reads")
    before = counted()
    Client().post("/reads")
    assert counted() == before + 1
    Client().post("/usual")
    assert counted() == before + 1


@pytest.mark.parametrize("methods", ["primary", "replica"])
def test_unsafe_methods__can_be_routed_as_others(
    methods: str, replicated: Replicated, use_databases: Any
) -> None:
    databases = replicated.databases()
    databases["default"]["ROUTER"] = {"UNSAFE_METHODS": methods}
    more = {"MIDDLEWARE": ["django_poolrouter.middleware.RoutingMiddleware"]}
    use_databases(databases, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"], **more)
    found = Client().post("/reads").content.decode()
    assert found.startswith("default" if methods == "primary" else "replica")


# -- threads that a request starts -----------------------------------------------------------


@pytest.mark.parametrize("run", [in_thread, in_executor])
def test_carried_scope__knows_what_a_thread_wrote(run: Any) -> None:
    def write() -> None:
        Tag.objects.create(name="by a thread")
        connections.close_all()

    with scope():
        assert where(Tag.objects.count)[0].startswith("replica")
        run(carry_scope(write))
        assert where(Tag.objects.count) == ["default"]
    Tag.objects.using("default").filter(name="by a thread").delete()


@pytest.mark.parametrize("run", ["thread", "executor"])
def test_next_request__sees_what_a_thread_wrote(
    replicated: Replicated, request: pytest.FixtureRequest, run: str
) -> None:
    if replicated.site is not None:
        replicated.lag(request)
    client = Client()
    assert client.get("/reads").content.startswith(b"replica")
    assert client.get("/in_thread", {"run": run}).content == b"default"
    assert client.get("/reads").content == b"default"
    assert Client().get("/reads").content.startswith(b"replica")
    Tag.objects.using("default").filter(name="by a thread").delete()
