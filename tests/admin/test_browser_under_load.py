"""The admin page in a real browser, served by gunicorn's workers while they are busy."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from prometheus_client.parser import text_string_to_metric_families
from selenium import webdriver

from tests.admin.browser import PAGE, Browser
from tests.servers import PostgresqlCluster
from tests.support.testapp.site import Site
from tests.support.waiting import eventually
from tests.support.web import ROOT, listening, running, visited

pytestmark = [pytest.mark.slow, pytest.mark.stress]

POOL = {"pool_size": 2, "max_overflow": 1, "pool_timeout": 30}
WORKERS = 2
PATIENCE = 60  # seconds: the page has to ask workers that are as busy as they can be
# More than a pool has connections, and enough for the page itself.
GUNICORN = (
    *("-m", "gunicorn", "tests.admin.wsgi", "--no-control-socket"),
    *(f"--workers={WORKERS}", "--threads=24"),
)
RUN = "[data-table=pools] [data-key={}] [data-trace={}] .pools-line"


@pytest.fixture(scope="module")
def site(postgresql: PostgresqlCluster) -> Site:
    return Site("postgresql", postgresql, "admin")


@pytest.fixture
def port(site: Site, use_databases: Any, tmp_path: Path) -> Iterator[int]:
    """The port of a site on PostgreSQL; `orders` and its replica `orders1` have small pools."""
    databases = site.databases()
    for alias in ("orders", "orders1"):
        databases[alias]["OPTIONS"] = {"pool": POOL}
    use_databases(databases)
    site.migrate()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "tests.admin.settings",
        "KEY": settings.SECRET_KEY,
        "DATABASES": json.dumps(databases),
        # Another project than this process, which is not to be seen.
        "POOLROUTER": json.dumps(
            {
                "NAMESPACE": tmp_path.name,
                "RUNTIME_DIR": str(tmp_path / "boards"),
                "ROUTING": {"MAX_LAG": 1},
            }
        ),
    }
    with listening() as listener:
        descriptor = listener.fileno()
        command = (*GUNICORN, f"--bind=fd://{descriptor}")
        with running(command, environment, tmp_path / "log", pass_fds=[descriptor]):
            yield listener.getsockname()[1]


@pytest.fixture
def browser(driver: webdriver.Chrome, port: int) -> Iterator[Browser]:
    browser = Browser(driver, f"http://127.0.0.1:{port}")
    yield browser
    browser.leave()


def make_user(name: str, *permissions: str) -> User:
    User.objects.filter(username=name).delete()
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def figure(browser: Browser, name: str) -> int:
    return int(browser.text(f"[data-table=figures] [data-key=orders] [data-cell={name}]"))


def points(browser: Browser, alias: str, name: str) -> set[str]:
    """Return the heights of a chart's line."""
    way = browser.find(RUN.format(alias, name)).get_attribute("d") or ""
    return {point.split(" ")[1] for point in way.replace("M", "L").split("L") if point}


def test_page__follows_a_site_under_load(browser: Browser, port: int) -> None:
    browser.sign_in(make_user("operator", "view_pools"))
    browser.open()
    with visited(port, "/busy/20", visitors=2):
        eventually(lambda: browser.pool(".pools-badge", "orders") == "OK", PATIENCE)
        before = figure(browser, "checkouts")
        eventually(lambda: figure(browser, "checkouts") > before, PATIENCE)
        eventually(lambda: browser.pool("[data-cell=lag_s]", "orders1") != "\N{EN DASH}", PATIENCE)
    with visited(port, "/busy/200", visitors=20):
        eventually(lambda: browser.pool(".pools-badge", "orders") == "Full, callers wait", PATIENCE)
        assert browser.text("[data-alarm]").startswith("Callers wait: orders")
        bar = "[data-key=orders] .pools-used"
        eventually(lambda: browser.find(bar).get_attribute("width") == "100.0", PATIENCE)
        assert browser.style(bar, "fill") != browser.style("[data-key=default] .pools-used", "fill")
        assert browser.text("[data-summary]") == f"{WORKERS} live processes"
        assert int(browser.pool(".pools-wide .pools-value", "orders")) <= 3 * WORKERS
        # At the first look that finds callers waiting, they wait since just now.
        for name in ("in_use", "waiting", "oldest_wait_s"):
            eventually(lambda name=name: len(points(browser, "orders", name)) > 1, PATIENCE)
    eventually(lambda: browser.pool("[data-cell=waiting]", "orders") == "0", PATIENCE)
    eventually(lambda: browser.pool(".pools-badge", "orders") == "OK", PATIENCE)
    assert browser.pool("[data-peak=waiting]", "orders").startswith("peak ")
    assert browser.complaints() == []


def test_page__draws_the_lag_of_a_replica(
    browser: Browser, port: int, postgresql: PostgresqlCluster, site: Site
) -> None:
    browser.sign_in(make_user("operator", "view_pools"))
    replica = site.node("orders1")
    with visited(port, "/busy/20", visitors=2):
        browser.open()
        eventually(lambda: browser.pool("[data-cell=lag_s]", "orders1") == "none", PATIENCE)
        postgresql.sql(replica, "SELECT pg_wal_replay_pause()")
        try:
            # Something that the replica lacks.
            postgresql.sql("primary", "SELECT pg_logical_emit_message(true, 'lag', 'x')")
            eventually(lambda: browser.pool(".pools-badge", "orders1") == "Lags behind", PATIENCE)
            assert browser.pool("[data-cell=lag_s]", "orders1").endswith(" s")
            seen = eventually(lambda: metric(port, "poolrouter_replica_lag_seconds", "orders1"))
            assert seen > 1
        finally:
            postgresql.sql(replica, "SELECT pg_wal_replay_resume()")
        eventually(lambda: browser.pool(".pools-badge", "orders1") == "OK", PATIENCE)
    assert len(points(browser, "orders1", "lag_s")) > 1
    assert browser.pool("[data-peak=lag_s]", "orders1").startswith("peak ")


def metric(port: int, name: str, alias: str) -> float:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text = response.read().decode()
    return next(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if (sample.name, sample.labels.get("alias")) == (name, alias)
    )


def test_page__is_refused_without_the_permission(browser: Browser, port: int) -> None:
    browser.sign_in(make_user("author", "view_user"))
    browser.open()
    assert "403 Forbidden" in browser.text("body")
    status = browser.driver.execute_async_script(
        f"fetch('{PAGE}data.json').then(response => arguments[0](response.status))"
    )
    assert status == 403
