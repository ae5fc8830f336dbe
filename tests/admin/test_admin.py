"""The admin page as the server answers: who may see it, what it says, what it costs."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from django_poolrouter import conf, pools
from django_poolrouter.contrib.admin import admin, page
from django_poolrouter.contrib.admin.page import duration
from django_poolrouter.status.boards.replica_health import ReplicaState
from django_poolrouter.status.document import document
from django_poolrouter.status.report import Report, collect
from tests.support.host import Host

PAGE = "/admin/poolrouter_admin/pools/"
DATA = PAGE + "data.json"
MakeUser = Callable[..., User]


@pytest.fixture
def client(make_user: MakeUser) -> Client:
    """Signed in as somebody with the permission and no other."""
    client = Client()
    client.force_login(make_user("operator", "view_pools"))
    return client


def row(client: Client, alias: str = "shop", url: str = DATA) -> dict[str, Any]:
    found = {row["key"]: row for row in client.get(url).json()["pools"]["rows"]}
    return found[alias]


# -- who may see it ----------------------------------------------------------


@pytest.mark.parametrize("url", [PAGE, DATA])
def test_page__is_refused_without_the_permission(make_user: MakeUser, url: str) -> None:
    client = Client()
    assert client.get(url).status_code == 302  # to the login page
    client.force_login(make_user("author", "view_user"))
    assert client.get(url).status_code == 403


@pytest.mark.parametrize("url", [PAGE, DATA])
def test_page__is_shown_with_the_permission(client: Client, url: str) -> None:
    response = client.get(url)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize("url", [PAGE, DATA])
def test_page__can_only_be_read(client: Client, url: str) -> None:
    assert client.head(url).status_code == 200
    for method in (client.post, client.put, client.delete):
        assert method(url).status_code == 405


def test_page__is_shown_to_superusers_and_offers_no_change(project: Host) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    assert client.get(PAGE).status_code == 200
    index = client.get("/admin/").content.decode()
    assert "Connection pools" in index
    assert "/admin/poolrouter_admin/pools/add/" not in index
    assert client.get(PAGE + "add/").status_code == 404


def test_index__lists_the_page_for_those_who_may_see_it(
    client: Client, make_user: MakeUser
) -> None:
    assert f'href="{PAGE}"' in client.get("/admin/").content.decode()
    client.force_login(make_user("author", "view_user"))
    assert PAGE not in client.get("/admin/").content.decode()


def test_page__has_its_place_in_the_admin(client: Client) -> None:
    html = client.get(PAGE).content.decode()
    assert "<h1>Connection pools</h1>" in html
    assert 'class="breadcrumbs"' in html
    assert 'id="nav-sidebar"' in html


def test_page__works_on_a_site_of_ones_own(client: Client) -> None:
    html = client.get("/own/poolrouter_admin/pools/").content.decode()
    assert 'data-source="/own/poolrouter_admin/pools/data.json"' in html
    assert row(client, url="/own/poolrouter_admin/pools/data.json")["cells"]["alias"] == "shop"


# -- what it says -------------------------------------------------------------


def test_data__is_of_all_processes(client: Client, project: Host) -> None:
    workers = [project.worker().do("take", "take", "give") for _ in range(2)]
    content = client.get(DATA).json()
    assert content["summary"] == "2 live processes"
    shop = content["pools"]["rows"][0]
    assert shop["state"] == "ok"
    assert (shop["cells"]["in_use"], shop["cells"]["of"]) == ("2", "of 6")
    assert shop["cells"]["about"] == "primary · production"
    assert shop["cells"]["where"] == "2 processes"
    assert shop["bars"] == {"open": "66.7", "in_use": "33.3"}
    keys = [each["key"] for each in content["processes"]["rows"]]
    pids = sorted(worker.pid for worker in workers)
    assert [re.sub(r"_[0-9a-f]{8}/", "/", key) for key in keys] == [f"{pid}/shop" for pid in pids]


@pytest.mark.parametrize(
    ("verbs", "state", "words"),
    [
        (["take", "take", "take"], "full", "Full"),
        (["take", "take", "take", "wait"], "exhausted", "Full, callers wait"),
    ],
)
def test_full_pool__is_called_so(
    client: Client, project: Host, verbs: list[str], state: str, words: str
) -> None:
    project.worker().do(*verbs)
    shop = row(client)
    assert (shop["state"], shop["cells"]["state"]) == (state, words)
    assert f'data-state="{state}"' in client.get(PAGE).content.decode()


def test_full_process__is_told_where_others_have_room(client: Client, project: Host) -> None:
    project.worker().do("take", "take", "take", "wait")
    project.worker().do("take", "give")
    shop = row(client)
    assert (shop["state"], shop["cells"]["where"]) == ("exhausted", "full in 1 of 2 processes")
    states = [each["state"] for each in client.get(DATA).json()["processes"]["rows"]]
    assert sorted(states) == ["exhausted", "ok"]
    assert client.get(DATA).json()["alarm"] == "Callers wait: shop"


def test_page__shows_every_figure_of_the_document(client: Client, project: Host) -> None:
    pool = document(collect())["pools"][0]
    expected = {key for key, value in pool.items() if isinstance(value, (int, float))} | {"lag_s"}
    table = client.get(DATA).json()["figures"]
    assert {column["name"] for column in table["columns"]} >= expected
    assert table["rows"][0]["cells"].keys() >= expected


def test_standalone_pool__may_come_first(client: Client, project: Host) -> None:
    databases = connections.settings
    databases["alone"] = {**databases["shop"], "ROUTER": {}}
    databases["shop"] = databases.pop("shop")  # to the end
    databases["replica"] = databases.pop("replica")
    keys = [each["key"] for each in client.get(DATA).json()["pools"]["rows"]]
    assert keys == ["alone", "shop", "replica"]
    names = {each["name"] for each in client.get(DATA).json()["figures"]["columns"]}
    assert "cluster" not in names


@pytest.mark.parametrize(
    ("lag", "words"),
    [(2.5, "2.5 s"), (0.0, "none"), (None, "\N{EN DASH}")],
)
def test_lag__has_a_column_where_there_are_replicas(
    client: Client, monkeypatch: pytest.MonkeyPatch, lag: float | None, words: str
) -> None:
    def with_health(health: ReplicaState) -> Report:
        report = collect()
        shop, replica = report.pools
        return replace(report, pools=(shop, replace(replica, health=health)))

    monkeypatch.setattr(admin, "collect", lambda: with_health(ReplicaState("up", lag)))
    assert 'data-trace="lag_s"' in client.get(PAGE).content.decode()
    assert row(client, "replica")["cells"]["lag_s"] == words
    assert row(client, "replica")["traces"]["lag_s"]["value"] == lag
    assert row(client, "shop")["traces"]["lag_s"]["value"] is None
    monkeypatch.setattr(admin, "collect", lambda: with_health(ReplicaState("ejected", None)))
    assert client.get(DATA).json()["alarm"] == "Out of service: replica"


def test_lag__has_no_column_without_replicas(client: Client) -> None:
    connections.settings["replica"]["ROUTER"] = {}
    conf.forget(setting="DATABASES")
    assert 'data-trace="lag_s"' not in client.get(PAGE).content.decode()


def test_page__tells_what_could_not_be_read(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "document", lambda report: {**document(report), "warnings": ["<No>"]})
    assert "data-warnings>&lt;No&gt;<" in client.get(PAGE).content.decode()
    assert client.get(DATA).json()["warnings"] == "<No>"


def test_page__says_so_when_no_process_is_there(client: Client) -> None:
    html = client.get(PAGE).content.decode()
    assert "0 live processes" in html
    assert '<p class="help" data-empty="processes">' in html
    assert row(client)["state"] == "unused"


def test_page__says_so_when_nothing_is_pooled(client: Client, project: Host) -> None:
    for alias in ("shop", "replica"):
        connections.settings[alias]["OPTIONS"]["pool"] = False
    assert "No database of this project has a pool." in client.get(PAGE).content.decode()
    assert client.get(DATA).json()["pools"]["rows"] == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "\N{EN DASH}"), (0.0123, "12 ms"), (1.25, "1,2 s"), (150, "2 min"), (7200, "2 h")],
)
def test_duration__is_short_and_in_the_readers_language(seconds: float, words: str) -> None:
    with translation.override("de"):
        assert duration(seconds) == words


def test_bars__are_drawn_in_every_language(client: Client, project: Host) -> None:
    project.worker().do("take", "take", "give")
    html = client.get(PAGE, headers={"accept-language": "de"}).content.decode()
    assert 'data-bar="open" width="66.7"' in html  # SVG knows no decimal comma


def test_texts__are_escaped(client: Client, project: Host) -> None:
    connections.settings["shop"]["OPTIONS"]["pool"] = {"profile": "production"}
    connections.settings["<b>"] = {**connections.settings["shop"], "ROUTER": {}}
    html = client.get(PAGE).content.decode()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


# -- what it costs -------------------------------------------------------------


def test_figures__cost_no_query_and_no_connection(client: Client, project: Host) -> None:
    client.get(DATA)

    def tables() -> list[str]:
        with CaptureQueriesContext(connections["default"]) as captured:
            assert client.get(DATA).status_code == 200
        return [query["sql"].split("FROM")[1].split('"')[1] for query in captured]

    before = tables()
    assert set(before) == {
        "django_session",
        "auth_user",
        "auth_permission",
    }
    for _ in range(3):
        project.worker().do("take", "take", "take", "wait")
    assert tables() == before
    assert pools["shop"].status().connects == 0


def test_model__has_no_table_and_stands_in_nobodys_way(project: Host) -> None:
    output = io.StringIO()
    call_command("makemigrations", "--check", "--dry-run", stdout=output)
    assert "No changes" in output.getvalue()
    assert "poolrouter_admin_pools" not in connections["default"].introspection.table_names()
    for every in (False, True):
        call_command("dumpdata", "poolrouter_admin", use_base_manager=every, stdout=output)
    call_command("check", "poolrouter_admin", fail_level="WARNING")
