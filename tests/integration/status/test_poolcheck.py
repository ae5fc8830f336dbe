"""poolcheck on real servers: who answers, as what, and for how many."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import ENGINES
from tests.support.host import Host

NAMES = {"postgresql": "postgres", "mariadb": "mysql"}


class Site:
    """A project on a primary and its replica."""

    def __init__(self, host: Host, kind: str, cluster: Any) -> None:
        self.host = host
        self.kind = kind
        self.cluster = cluster
        self.point("SERVER", "primary")
        self.point("REPLICA", "replica1")

    def point(self, variable: str, node: str, **changes: Any) -> None:
        """Point an alias at a server."""
        settings = self.cluster.settings(node, NAMES[self.kind])
        entry = {"ENGINE": ENGINES[self.kind], **settings, **changes}
        self.host.environment[variable] = json.dumps(entry)

    def check(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Return what is found of each alias."""
        done = self.host.run("poolcheck", "--json", *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return {each["alias"]: each for each in json.loads(done.stdout)["databases"]}


@pytest.fixture(params=["postgresql", "mariadb"])
def site(host: Host, request: pytest.FixtureRequest) -> Site:
    Path(host.environment["NAME"]).touch()
    return Site(host, request.param, request.getfixturevalue(request.param))


def test_servers__are_what_the_settings_say(site: Site) -> None:
    found = site.check()
    primary, replica = found["default"], found["unopened"]
    assert (primary["role"], primary["found"], primary["read_only"]) == (
        "primary",
        "primary",
        False,
    )
    assert (replica["role"], replica["found"], replica["read_only"]) == ("replica", "replica", True)
    assert replica["lag_s"] is not None
    for each in (primary, replica):
        assert each["healthy"]
        assert each["server"]
        assert each["connect_ms"] > 0
        assert each["latency_ms"] > 0


def test_roles__that_are_swapped_are_unhealthy(site: Site) -> None:
    site.point("SERVER", "replica1")
    site.point("REPLICA", "primary")
    found = site.check(code=1)
    assert found["default"]["error"] == "is configured as a primary but is a replica"
    assert found["unopened"]["error"] == "is configured as a replica but follows no other server"


def test_lag__without_the_primary_is_known_only_where_the_replica_knows_it(site: Site) -> None:
    """PostgreSQL's knows how old its last transaction is, and an idle primary has no newer one."""
    site.point("SERVER", "primary", PORT="1")
    replica = site.check(code=1)["unopened"]
    assert replica["healthy"]
    assert (replica["lag_s"] is None) is (site.kind == "postgresql")


def test_budget__adds_up_all_pools_on_one_server_over_all_processes(site: Site) -> None:
    for _ in range(2):
        site.host.worker().do("take")
    [budget] = site.check("--database", "default")["default"]["budgets"]
    assert (budget["aliases"], budget["per_process"], budget["processes"]) == (["default"], 3, 2)
    assert (budget["needed"], budget["fits"]) == (6, True)
    site.point("REPLICA", "primary")
    [budget] = site.check("--database", "default", "--processes", "100")["default"]["budgets"]
    assert (budget["aliases"], budget["per_process"]) == (["default", "unopened"], 3 + 15)
    assert (budget["needed"], budget["fits"]) == (1800, False)


def test_budget__of_one_database_counts_its_neighbours_by_any_name(site: Site) -> None:
    site.point("SERVER", "primary", HOST="127.0.0.1")
    for name in ("localhost", "127.0.0.1"):
        if (name, site.kind) == ("localhost", "mariadb"):
            continue  # the driver takes that for the path of a socket
        site.point("REPLICA", "primary", HOST=name)
        [budget] = site.check("--database", "default", "--observe", "0")["default"]["budgets"]
        assert budget["aliases"] == ["default", "unopened"]


def test_budget__knows_the_limit_of_the_account(site: Site) -> None:
    name = {"postgresql": "CONNECTION LIMIT of role shop", "mariadb": "max_user_connections"}
    with limited(site, 5):
        found = site.check("--processes", "2")["default"]
    assert found["budgets"][0]["name"] == name[site.kind]
    assert (found["budgets"][0]["limit"], found["budgets"][0]["needed"]) == (5, 6)
    [warning] = found["warnings"]
    assert warning.endswith(f"2 x 3 (default) = 6 of 5 ({name[site.kind]})")


@contextmanager
def limited(site: Site, connections: int) -> Iterator[None]:
    change = {
        "postgresql": f"ALTER ROLE {site.cluster.USER} CONNECTION LIMIT %d",
        "mariadb": f"ALTER USER {site.cluster.USER} WITH MAX_USER_CONNECTIONS %d",
    }[site.kind]
    site.cluster.sql("primary", change % connections)
    try:
        yield
    finally:
        site.cluster.sql("primary", change % {"postgresql": -1, "mariadb": 0}[site.kind])


def test_server__that_closes_idle_connections_early_is_a_warning(site: Site) -> None:
    if site.kind == "postgresql":
        options = {"options": "-c idle_session_timeout=60000"}
    else:
        options = {"init_command": "SET SESSION wait_timeout = 60"}
    site.point("SERVER", "primary", MORE_OPTIONS=options)
    [warning] = site.check("--database", "default")["default"]["warnings"]
    assert "idle for 60 s, but max_idle is 600" in warning
    assert warning.endswith("set it below 60")


def test_connections_kept_for_min_idle__are_closed_by_their_age_alone(site: Site) -> None:
    limit = {
        "postgresql": {"options": "-c idle_session_timeout=60000"},
        "mariadb": {"init_command": "SET SESSION wait_timeout = 60"},
    }[site.kind]

    def warnings(**pool: Any) -> Any:
        options = {"pool": {"pool_size": 2, "max_idle": 30, **pool}, **limit}
        site.point("SERVER", "primary", MORE_OPTIONS=options)
        return site.check("--database", "default", "--observe", "0")["default"]["warnings"]

    assert warnings(pool_recycle=3600) == []
    assert warnings(pool_recycle=59, min_idle=1) == []
    [warning] = warnings(pool_recycle=3600, min_idle=1)
    assert (
        "idle for 60 s, but those kept for min_idle stay until pool_recycle, which is 3600"
        in warning
    )


def test_wrong_password__is_not_shown(site: Site) -> None:
    site.point("SERVER", "primary", PASSWORD="not-the-password")
    for arguments in ([], ["--json"]):
        done = site.host.run("poolcheck", *arguments)
        assert done.returncode == 1
        assert "not-the-password" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    found = site.check(code=1)
    assert re.search("password authentication failed|Access denied", found["default"]["error"])
    assert found["unopened"]["healthy"]


def test_silent_server__is_waited_for_no_longer_than_the_limit(
    site: Site, fault_proxy: Callable[[int], Any]
) -> None:
    proxy = fault_proxy(int(site.cluster.settings("primary", "")["PORT"]))
    proxy.mode = "blackhole"
    # What connects would go on for longer than this test waits for the command.
    options = {"pool": {"pool_timeout": 600}}
    site.point("SERVER", "primary", PORT=str(proxy.port), MORE_OPTIONS=options)
    found = site.check(code=1)
    assert found["default"]["error"] == "no answer within 2 s"
    assert found["unopened"]["healthy"]


def test_server__that_forbids_the_question_for_positions_is_a_warning(site: Site) -> None:
    if site.kind != "postgresql":
        pytest.skip("MariaDB tells everybody")
    change = "{} EXECUTE ON FUNCTION pg_control_system {} PUBLIC"
    assert site.check()["default"]["warnings"] == []
    site.cluster.sql("primary", change.format("REVOKE", "FROM"))
    try:
        site.cluster.wait_for_replicas()
        found = site.check()
    finally:
        site.cluster.sql("primary", change.format("GRANT", "TO"))
        site.cluster.wait_for_replicas()
    for alias in ("default", "unopened"):
        [warning] = found[alias]["warnings"]
        assert warning.startswith("the server reports no position in its replication log")


def test_advice__tells_of_the_use_that_it_saw(site: Site) -> None:
    site.host.worker().do("take", "give")
    found = site.check("--observe", "0.1")
    advice, on_requests = found["default"]["advice"]
    assert advice.startswith("0 checkouts within ")
    assert on_requests.startswith('UNSAFE_METHODS is "primary": the reads of POST,')
    assert all("UNSAFE" not in text for text in found["unopened"]["advice"])
    assert site.check("--observe", "0")["default"]["advice"] == [on_requests]


# -- without a server -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--processes", "-3"),
        ("--processes", "0"),
        ("--observe", "inf"),
        ("--observe", "nan"),
        ("--observe", "-1"),
    ],
)
def test_numbers__that_make_no_sense_are_refused(host: Host, option: str, value: str) -> None:
    done = host.run("poolcheck", f"{option}={value}")
    assert done.returncode == 1
    assert f"CommandError: {option} takes " in done.stderr


def test_poolcheck__tells_who_answers(host: Host) -> None:
    Path(host.environment["NAME"]).touch()
    done = host.run("poolcheck")
    assert done.returncode == 0, done.stdout + done.stderr
    *table, on_requests = done.stdout.splitlines()[1:]
    assert [line.split()[:2] for line in table] == [
        ["default", "primary"],
        ["unopened", "replica"],
        ["unpooled", "standalone"],
    ]
    assert on_requests.startswith('default: UNSAFE_METHODS is "primary"')


def test_poolcheck__exits_with_1_when_one_does_not_answer(host: Host) -> None:
    done = host.run("poolcheck", "--json", NAME=str(host.folder / "no" / "such.sqlite3"))
    assert done.returncode == 1
    default = json.loads(done.stdout)["databases"][0]
    assert (default["healthy"], default["error"]) == (False, "unable to open database file")
