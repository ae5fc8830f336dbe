"""What is wrong in the settings is told by the checks, and again at the first use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections, router

from django_poolrouter import conf, scope
from django_poolrouter.backends.mixin import PooledDatabaseWrapper
from django_poolrouter.checks.routing import MIDDLEWARE, ROUTER, check_settings
from django_poolrouter.middleware import RoutingMiddleware
from django_poolrouter.process.registry import registry
from django_poolrouter.router import PoolRouter
from django_poolrouter.routing import Scope
from tests.support.databases import ENGINES
from tests.support.skips import NOT_TESTED
from tests.support.testapp.shop.models import Book

STOCK = "django.db.backends.sqlite3"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
PASSWORD = "open-sesame"
# `make quick` installs no mysqlclient, and without it this engine cannot be imported.
with_mysqlclient = pytest.mark.skipif(
    find_spec("MySQLdb") is None, reason=f"{NOT_TESTED}the MySQL engine (no mysqlclient)"
)


class OwnRouter(PoolRouter):
    """A project's own router."""


class OwnMiddleware(RoutingMiddleware):
    """A project's own middleware."""


class Setup:
    """Settings that are right, to be made wrong."""

    def __init__(self, use_databases: Any, folder: Path) -> None:
        self.folder = folder
        self.databases = {
            # SQLite has no positions.
            "default": self.database("default", ROUTER={"READ_YOUR_WRITES": "pin"}),
            "replica1": self.database("replica1", ROUTER={"REPLICA_OF": "default"}),
            "orders": self.database("orders", ROUTER={"APPS": ["orders"]}),
        }
        self.settings: dict[str, Any] = {"MIDDLEWARE": [MIDDLEWARE]}
        self._use = use_databases

    def database(self, name: str, **changes: Any) -> dict[str, Any]:
        file = self.folder / f"{name}.sqlite3"
        return {"ENGINE": ENGINES["sqlite"], "NAME": file, "PASSWORD": PASSWORD, **changes}

    def use(self) -> None:
        self._use(self.databases, **self.settings)

    def messages(self) -> list[checks.CheckMessage]:
        self.use()
        messages = check_settings()
        assert not any(PASSWORD in f"{m.msg} {m.hint}" for m in messages)
        return messages

    def texts(self) -> list[str]:
        return [f"{m.id} {m.msg} {m.hint or ''}".strip() for m in self.messages()]


@pytest.fixture
def setup(use_databases: Any, tmp_path: Path) -> Iterator[Setup]:
    with scope(Scope(sticky=False)):
        yield Setup(use_databases, tmp_path)


def ids(messages: list[checks.CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


# -- clean ------------------------------------------------------------------------------


def test_clean_settings__get_no_message(setup: Setup) -> None:
    setup.settings["POOLROUTER"] = {
        "PROFILES": {"web": {"profile": "production", "pool_size": 12}},
        "ROUTING": {"PIN_SECONDS": 2},
        "NAMESPACE": "shop",
        "RUNTIME_DIR": str(setup.folder),
    }
    setup.databases["default"]["OPTIONS"] = {"pool": {"profile": "web", "max_overflow": 1}}
    assert setup.messages() == []
    assert router.db_for_read(Book) == "replica1"
    connections["default"].ensure_connection()


def test_plain_django_settings__get_no_message(use_databases: Any) -> None:
    database = {"ENGINE": STOCK, "NAME": "x", "CONN_MAX_AGE": 60, "ATOMIC_REQUESTS": True}
    use_databases({"default": database}, DATABASE_ROUTERS=[])
    assert check_settings() == []


def test_no_databases__get_no_message(use_databases: Any) -> None:
    use_databases({}, DATABASE_ROUTERS=[])
    assert check_settings() == []


def test_check__is_registered_and_fails_the_command(setup: Setup) -> None:
    setup.use()
    assert [m for m in checks.run_checks() if (m.id or "").startswith("poolrouter.")] == []
    setup.databases["default"]["OPTIONS"] = {"pool": "prod"}
    setup.use()
    with pytest.raises(SystemCheckError, match=r"poolrouter\.E001"):
        call_command("check")


# -- errors -----------------------------------------------------------------------------

POOL = "DATABASES['default']['OPTIONS']['pool']"
FAILS = "tests.support.testapp.fails"
DEFAULT = "DATABASES['default']['ROUTER']"
REPLICA = "DATABASES['replica1']['ROUTER']"

WRONG_POOLS = [
    ("prodution", f"{POOL}: unknown profile 'prodution'. Did you mean 'production'?"),
    (3, f"{POOL}: must be True, False, a profile's name or a mapping of options, not 3."),
    ({"pool_sise": 3}, f"{POOL}['pool_sise']: unknown option. Did you mean 'pool_size'?"),
    ({"pool_size": 0}, f"{POOL}['pool_size']: must be a whole number, at least 1, not 0."),
    ({"pool_size": "9"}, f"{POOL}['pool_size']: must be a whole number, at least 1, not '9'."),
    ({"pool_timeout": -1}, f"{POOL}['pool_timeout']: must be a number of seconds of at least 0"),
    (
        {"max_size": 3, "pool_size": 3},
        f"{POOL}: 'max_size' and 'pool_size' are two spellings of one option.",
    ),
    ({"reset": "shop.nothing"}, f"{POOL}['reset']: cannot import 'shop.nothing': "),
    ({"reset": "math.pi"}, f"{POOL}['reset']: 'math.pi' is not callable."),
    ({"reset": ".clean"}, f"{POOL}['reset']: cannot import '.clean': "),
    ({"reset": f"{FAILS}.clean"}, f"{POOL}['reset']: cannot import '{FAILS}.clean': no engine"),
]
WRONG_ROUTERS = [
    ("default", {"PIN_SECOND": 3}, f"{DEFAULT}['PIN_SECOND']: unknown option. Did you mean 'PIN_"),
    ("default", {"PIN_SECONDS": "3"}, f"{DEFAULT}['PIN_SECONDS']: must be a number of seconds of"),
    ("default", {"BALANCER": "shop.near"}, f"{DEFAULT}['BALANCER']: cannot import 'shop.near': "),
    ("default", {"BALANCER": "math.pi"}, f"{DEFAULT}['BALANCER']: 'math.pi' is not callable."),
    ("default", {"APPS": "shop"}, f"{DEFAULT}['APPS']: must be a list of app labels and models"),
    (
        "default",
        {"ALWAYS_PRIMARY": "sessions"},
        f"{DEFAULT}['ALWAYS_PRIMARY']: must be a list of app labels and models, not 'sessions'.",
    ),
    ("default", {"READ_ONLY": False}, f"{DEFAULT}['READ_ONLY']: belongs to a replica's entry."),
    (
        "replica1",
        {"REPLICA_OF": "default", "READ_ONLY": "no"},
        f"{REPLICA}['READ_ONLY']: must be True or False, not 'no'.",
    ),
    ("default", {"APPS": ["orders"]}, "DATABASES['orders']['ROUTER']['APPS']: 'orders' belongs to"),
    ("default", "orders", f"{DEFAULT}: must be a mapping, not 'orders'."),
    (
        "replica1",
        {"REPLICA_OF": "defalt"},
        f"{REPLICA}['REPLICA_OF']: there is no database 'defalt'. Did you mean 'default'?",
    ),
    ("replica1", {"REPLICA_OF": "replica1"}, f"{REPLICA}['REPLICA_OF']: a database cannot be a"),
    (
        "orders",
        {"REPLICA_OF": "replica1"},
        "DATABASES['orders']['ROUTER']['REPLICA_OF']: 'replica1' is a replica too. "
        "Name the primary itself, 'default'.",
    ),
    (
        "replica1",
        {"REPLICA_OF": "default", "WEIGHT": 0},
        f"{REPLICA}['WEIGHT']: must be a whole number, at least 1, not 0.",
    ),
]
WRONG_POOLROUTER = [
    (["x"], "POOLROUTER: must be a mapping, not ['x']."),
    (None, "POOLROUTER: must be a mapping, not None."),
    ({"PROFILE": {}}, "POOLROUTER['PROFILE']: unknown option. Did you mean 'PROFILES'?"),
    ({"routing": {}}, "POOLROUTER['routing']: unknown option. Did you mean 'ROUTING'?"),
    ({"CONTROL": "yes"}, "POOLROUTER['CONTROL']: must be True or False, not 'yes'."),
    ({"NAMESPACE": ["shop"]}, "POOLROUTER['NAMESPACE']: must be a string, not ['shop']."),
    ({"RUNTIME_DIR": True}, "POOLROUTER['RUNTIME_DIR']: must be the absolute path of a folder, no"),
    ({"RUNTIME_DIR": "run"}, "POOLROUTER['RUNTIME_DIR']: must be the absolute path of a folder, n"),
]
WRONG_PROFILES = [
    ("web", "POOLROUTER['PROFILES']: must be a mapping of profile names to options."),
    ({"batch": {}}, "POOLROUTER['PROFILES']['batch']: cannot be the name of a profile."),
    ({"web": 3}, "POOLROUTER['PROFILES']['web']: must be a mapping of options."),
    ({"web": {"size": 3}}, "POOLROUTER['PROFILES']['web']['size']: unknown option. "),
    ({"web": {"profile": "btch"}}, "POOLROUTER['PROFILES']['web']: unknown profile 'btch'. Did"),
]
WRONG_ROUTING = [
    ("pin", "POOLROUTER['ROUTING']: must be a mapping, not 'pin'."),
    ({"PINSECONDS": 1}, "POOLROUTER['ROUTING']['PINSECONDS']: unknown option. Did you mean 'PIN_"),
    ({"ALWAYS_PRIMARY": [3]}, "POOLROUTER['ROUTING']['ALWAYS_PRIMARY']: must be a list of app"),
    ({"FALLBACK": "none"}, "POOLROUTER['ROUTING']['FALLBACK']: must be one of 'primary', 'error'"),
    ({"BALANCER": "shop.near"}, "POOLROUTER['ROUTING']['BALANCER']: cannot import 'shop.near': "),
]


def assert_told(setup: Setup, told: str, *, by_pool: bool, by_router: bool) -> None:
    """Assert that the checks tell it once, and the pool and the router where they are asked."""
    [text] = setup.texts()
    assert text.startswith(f"poolrouter.E001 {told}")
    uses = {
        "pool": (by_pool, lambda: connections["default"].ensure_connection()),
        "router": (by_router, lambda: router.db_for_read(Book)),
    }
    for tells, use in uses.values():
        if tells:
            with pytest.raises(ImproperlyConfigured, match=re.escape(told)) as caught:
                use()
            assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(("pool", "told"), WRONG_POOLS, ids=str)
def test_wrong_pool__is_an_error(setup: Setup, pool: Any, told: str) -> None:
    setup.databases["default"]["OPTIONS"] = {"pool": pool}
    assert_told(setup, told, by_pool=True, by_router=False)


@pytest.mark.parametrize(("alias", "entry", "told"), WRONG_ROUTERS, ids=str)
def test_wrong_router_entry__is_an_error(setup: Setup, alias: str, entry: Any, told: str) -> None:
    setup.databases[alias]["ROUTER"] = entry
    assert_told(setup, told, by_pool=False, by_router=True)


@pytest.mark.parametrize(("poolrouter", "told"), WRONG_POOLROUTER, ids=str)
def test_wrong_poolrouter_setting__is_an_error(setup: Setup, poolrouter: Any, told: str) -> None:
    setup.settings["POOLROUTER"] = poolrouter
    assert_told(setup, told, by_pool=True, by_router=True)


@pytest.mark.parametrize(("profiles", "told"), WRONG_PROFILES, ids=str)
def test_wrong_profile__is_an_error(setup: Setup, profiles: Any, told: str) -> None:
    setup.settings["POOLROUTER"] = {"PROFILES": profiles}
    assert_told(setup, told, by_pool=True, by_router=False)


@pytest.mark.parametrize(("routing", "told"), WRONG_ROUTING, ids=str)
def test_wrong_default_for_all_clusters__is_an_error(setup: Setup, routing: Any, told: str) -> None:
    setup.settings["POOLROUTER"] = {"ROUTING": routing}
    assert_told(setup, told, by_pool=False, by_router=True)


@pytest.mark.parametrize("seconds", [60, None, True])
def test_conn_max_age__is_an_error_with_a_pool(setup: Setup, seconds: Any) -> None:
    setup.databases["replica1"]["CONN_MAX_AGE"] = seconds
    [text] = setup.texts()
    where = f"DATABASES['replica1']['CONN_MAX_AGE']: must be 0 with a pool, not {seconds!r}: "
    assert text.startswith(f"poolrouter.E001 {where}")
    with pytest.raises(ImproperlyConfigured, match=re.escape(where)):
        connections["replica1"].ensure_connection()


def test_unpooled_database__may_keep_its_connections(setup: Setup) -> None:
    setup.databases["default"] |= {"CONN_MAX_AGE": 60, "OPTIONS": {"pool": False}}
    setup.databases["orders"] |= {"CONN_MAX_AGE": 60, "ENGINE": STOCK}
    assert setup.messages() == []


def test_every_mistake__is_told_once(setup: Setup) -> None:
    setup.settings["POOLROUTER"] = {"ROUTING": {"MAX_LAG": 0}}
    setup.databases["default"]["OPTIONS"] = {"pool": {"pool_size": 0, "pool_sise": 1}}
    setup.databases["orders"]["OPTIONS"] = {"pool": "bath"}
    setup.databases["replica1"]["ROUTER"]["WEIGHT"] = 0
    messages = setup.messages()
    assert ids(messages) == ["poolrouter.E001"] * 5
    assert len({message.msg for message in messages}) == 5


def test_wrong_profiles_and_keys__hide_no_mistake_in_routing(setup: Setup) -> None:
    setup.settings["POOLROUTER"] = {"PROFILES": {"web": {"size": 1}}, "ROUTIN": {}}
    setup.databases["replica1"]["ROUTER"]["WEIGHT"] = 0
    texts = setup.texts()
    assert len(texts) == 3
    assert all(any(part in text for text in texts) for part in ("PROFILES", "ROUTIN'", "WEIGHT"))


def test_engine_of_the_project__that_is_pooled_is_checked_too(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooled engine of one's own is a subclass of two lines."""
    import sys
    import types

    from django.db.backends.sqlite3 import base

    class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper):
        pass

    for name in ("shop_engine", "shop_engine.base"):
        module = types.ModuleType(name)
        module.__path__ = []  # type: ignore[attr-defined]
        module.DatabaseWrapper = DatabaseWrapper  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    setup.databases["orders"] |= {"ENGINE": "shop_engine", "OPTIONS": {"pool": "prodution"}}
    [text] = setup.texts()
    assert "DATABASES['orders']['OPTIONS']['pool']: unknown profile 'prodution'." in text


def test_native_pool_of_a_stock_engine__is_none_of_our_business(setup: Setup) -> None:
    stock = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {"pool": {"num_workers": 2}}}
    setup.databases["orders"] |= stock
    assert setup.messages() == []


# -- warnings ---------------------------------------------------------------------------


def test_atomic_requests__on_a_primary_with_replicas(setup: Setup) -> None:
    setup.databases["default"]["ATOMIC_REQUESTS"] = True
    setup.databases["orders"]["ATOMIC_REQUESTS"] = True
    [text] = setup.texts()
    assert text.startswith("poolrouter.W001 DATABASES['default'] has ATOMIC_REQUESTS and replicas")


def test_router__that_is_missing(setup: Setup) -> None:
    setup.settings["DATABASE_ROUTERS"] = []
    [text] = setup.texts()
    assert text.startswith("poolrouter.W002 DATABASES has replicas, but no read goes to them.")
    assert ROUTER in text


@pytest.mark.parametrize(
    "routers", [[ROUTER], ["some.Router", ROUTER], [PoolRouter()], [f"{__name__}.OwnRouter"]]
)
def test_router__is_found_by_path_as_object_and_as_subclass(setup: Setup, routers: Any) -> None:
    if "some.Router" in routers:
        routers = [object(), *routers[1:]]
    setup.settings["DATABASE_ROUTERS"] = routers
    assert setup.messages() == []


def test_router__is_not_missed_without_replicas(setup: Setup) -> None:
    setup.settings["DATABASE_ROUTERS"] = []
    del setup.databases["replica1"]
    del setup.databases["orders"]
    assert setup.messages() == []


def test_middleware__that_is_missing(setup: Setup) -> None:
    setup.settings["MIDDLEWARE"] = []
    [text] = setup.texts()
    assert text.startswith("poolrouter.W003 Users may not see what they wrote")
    assert MIDDLEWARE in text


def test_middleware__of_the_projects_own_is_found(setup: Setup) -> None:
    setup.settings["MIDDLEWARE"] = ["shop.middleware.nothing", f"{__name__}.OwnMiddleware"]
    assert setup.messages() == []


@pytest.mark.parametrize(
    "entry", [{"READ_YOUR_WRITES": "off"}, {"READ_YOUR_WRITES": "pin", "PIN_SECONDS": 0}]
)
def test_middleware__is_not_missed_where_nothing_pins(setup: Setup, entry: Any) -> None:
    setup.settings["MIDDLEWARE"] = []
    setup.databases["default"]["ROUTER"] = entry
    assert setup.messages() == []


def test_atomic_requests__on_a_replica(setup: Setup) -> None:
    setup.databases["replica1"]["ATOMIC_REQUESTS"] = True
    [text] = setup.texts()
    assert text.startswith("poolrouter.W004 DATABASES['replica1'] is a replica and has ATOMIC_")


def test_engine__of_a_replica_that_differs(setup: Setup) -> None:
    setup.databases["replica1"]["ENGINE"] = STOCK
    [text] = setup.texts()
    assert text.startswith("poolrouter.W005 DATABASES['replica1'] has another ENGINE than its prim")


def test_stock_engines__may_take_part(setup: Setup) -> None:
    for database in setup.databases.values():
        database["ENGINE"] = STOCK
    assert setup.messages() == []


# -- how pools fit what runs them -----------------------------------------------------------

SMALL = {"pool": {"pool_size": 2, "max_overflow": 3}}


@pytest.mark.parametrize(("threads", "told"), [(5, False), (6, True)])
def test_threads__of_gunicorn_beyond_the_pool(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, threads: int, told: bool
) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", f"--workers 2 --threads={threads} --preload")
    setup.databases["default"]["OPTIONS"] = SMALL
    texts = setup.texts()
    assert bool(texts) is told
    if told:
        assert texts[0].startswith(
            "poolrouter.W020 GUNICORN_CMD_ARGS runs 6 threads in a process, and pool 'default' "
            "has 5 connections at most (pool_size 2 + max_overflow 3)."
        )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("workers = 2\nthreads = 6\n", True),
        ("threads = 5", False),
        ("import os\nthreads = int(os.environ['THREADS'])", False),
        ("threads = (", False),
        (None, False),
    ],
)
def test_threads__of_gunicorns_own_file_beyond_the_pool(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, told: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("gunicorn.conf.py").write_text(text)
    setup.databases["default"]["OPTIONS"] = SMALL
    words = "poolrouter.W020 gunicorn.conf.py runs 6 threads"
    assert [line.startswith(words) for line in setup.texts()] == [True] * told
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--threads 4")
    assert setup.texts() == [], "the environment wins"


@pytest.mark.parametrize(("kind", "told"), [("prefork", 0), ("threads", 1), ("gevent", 1)])
def test_threads__of_celery_beyond_the_pool(setup: Setup, kind: str, told: int) -> None:
    setup.databases["default"]["OPTIONS"] = SMALL
    setup.settings |= {"CELERY_WORKER_CONCURRENCY": 10, "CELERY_WORKER_POOL": kind}
    assert ids(setup.messages()) == ["poolrouter.W020"] * told


@pytest.mark.parametrize(
    ("middleware", "told"),
    [
        ([MIDDLEWARE, SESSIONS], None),
        ([MIDDLEWARE, SESSIONS, MIDDLEWARE], "more than once."),
        ([SESSIONS, MIDDLEWARE], f"after {SESSIONS!r}."),
    ],
    ids=str,
)
def test_middleware__that_is_misplaced(setup: Setup, middleware: list[str], told: Any) -> None:
    setup.settings["MIDDLEWARE"] = middleware
    texts = setup.texts()
    assert [text.startswith("poolrouter.W021") and told in text for text in texts] == [True] * (
        told is not None
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, 1),
        ({"PORT": 5432}, 1),
        ({"PORT": "5433"}, 0),
        ({"NAME": "another"}, 0),
        ({"OPTIONS": {"pool": False}}, 0),
    ],
    ids=str,
)
def test_two_aliases__of_one_database(setup: Setup, change: Any, told: int) -> None:
    server = {"ENGINE": ENGINES["postgresql"], "HOST": "db", "PORT": "5432", "NAME": "shop"}
    setup.databases = {"default": server, "orders": {**server, **change}}
    assert ids(setup.messages()) == ["poolrouter.W022"] * told


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("postgresql", {}, 1),
        ("postgresql", {"pool": "batch"}, 1),
        pytest.param("mariadb", {}, 1, marks=with_mysqlclient),
        ("postgresql", {"service": "another"}, 0),
        ("sqlite", {}, 0),
    ],
    ids=str,
)
def test_two_aliases__of_one_database_over_a_socket(
    setup: Setup, kind: str, options: Any, told: int
) -> None:
    """A file is no server, and an option may lead to another."""
    local = {"ENGINE": ENGINES[kind], "NAME": str(setup.folder / "shop")}
    setup.databases = {"default": local, "orders": {**local, "OPTIONS": options}}
    assert ids(setup.messages()) == ["poolrouter.W022"] * told


@pytest.mark.parametrize(
    ("pool", "told"),
    [("web", 1), ({"pool_size": 3}, 1), ({"min_size": 3, "max_idle": 9}, 0), (True, 0)],
    ids=str,
)
def test_pool_of_ours__under_a_stock_engine(setup: Setup, pool: Any, told: int) -> None:
    setup.databases["orders"] |= {"ENGINE": STOCK, "OPTIONS": {"pool": pool}}
    assert ids(setup.messages()) == ["poolrouter.W023"] * told


def test_options_of_another_package__are_told_of(setup: Setup) -> None:
    setup.databases["orders"]["POOL_OPTIONS"] = {"POOL_SIZE": 10}
    setup.databases["other"] = {"ENGINE": STOCK, "NAME": ":memory:", "POOL_OPTIONS": {}}
    [warning] = setup.messages()
    assert warning.id == "poolrouter.W014"
    assert "'orders'" in warning.msg


def test_runtime_dir__that_cannot_be_made(setup: Setup) -> None:
    (setup.folder / "file").touch()
    setup.settings["POOLROUTER"] = {"RUNTIME_DIR": str(setup.folder / "file" / "run")}
    [text] = setup.texts()
    assert text.startswith("poolrouter.W024 POOLROUTER['RUNTIME_DIR']: ")


def test_every_id__is_in_the_docs_and_every_id_of_the_docs_is_sent() -> None:
    root = Path(__file__).parents[3]
    sources = "".join(p.read_text() for p in (root / "django_poolrouter").rglob("*.py"))
    documented = re.findall(
        r"^## `poolrouter\.(\w\d+)`", (root / "docs/checks.md").read_text(), re.MULTILINE
    )
    assert sorted(documented) == sorted(set(re.findall(r'id="poolrouter\.(\w\d+)"', sources)))


# -- what is parsed is kept, and forgotten ----------------------------------------------


def test_settings__are_parsed_once_and_again_when_a_test_changes_them(
    setup: Setup, settings: Any
) -> None:
    setup.use()
    first = registry.topology
    assert registry.topology is first
    assert conf.clusters() is conf.clusters()
    settings.POOLROUTER = {"ROUTING": {"PIN_SECONDS": 9}}
    assert registry.topology is not first
    assert registry.topology.clusters["default"].pin_seconds == 9
    settings.ALLOWED_HOSTS = ["x"]
    assert conf.clusters() is conf.clusters()


def test_own_balancer__is_loaded_by_its_dotted_path(setup: Setup) -> None:
    setup.databases["default"]["ROUTER"]["BALANCER"] = f"{__name__}.last"
    setup.databases["replica2"] = setup.database("2", ROUTER={"REPLICA_OF": "default"})
    assert setup.messages() == []
    assert router.db_for_read(Book) == "replica2"


def last(candidates: Any, turn: int) -> Any:
    return candidates[-1]


# -- positions --------------------------------------------------------------------------


def test_positions__that_cannot_be_had_are_told_of(setup: Setup) -> None:
    del setup.databases["default"]["ROUTER"]
    [message] = setup.messages()
    assert (message.id, message.level) == ("poolrouter.I001", checks.INFO)
    assert "reads stay on the primary for PIN_SECONDS (5 s)" in message.msg


@pytest.mark.parametrize("kind", ["postgresql", pytest.param("mariadb", marks=with_mysqlclient)])
def test_positions__that_can_be_had_are_not_told_of(setup: Setup, kind: str) -> None:
    for database in setup.databases.values():
        database["ENGINE"] = ENGINES[kind]
    setup.databases["default"]["ROUTER"] = {"PIN_SECONDS": 0}
    assert setup.messages() == []
    setup.settings["MIDDLEWARE"] = []
    assert ids(setup.messages()) == ["poolrouter.W003"]


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("cokie", "must be one of 'cookie', 'cache', or a callable or its dotted path, not 'coki"),
        ("shop.Nothing", "cannot import 'shop.Nothing': "),
        (3, "must be one of 'cookie', 'cache', or a callable or its dotted path, not 3."),
    ],
)
def test_store__that_is_wrong_is_an_error(setup: Setup, store: Any, told: str) -> None:
    setup.settings["POOLROUTER"] = {"ROUTING": {"STORE": store}}
    [text] = setup.texts()
    assert text.startswith(f"poolrouter.E001 POOLROUTER['ROUTING']['STORE']: {told}")
