"""How the settings become clusters, and what is said of each mistake in them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from django_poolrouter.routing import ClusterConfig, parse_clusters
from django_poolrouter.routing.always_primary import AlwaysPrimary
from django_poolrouter.routing.config import ReplicaConfig
from django_poolrouter.validation import ConfigError

ROUTER = "DATABASES['{}']['ROUTER']"


def parse(entries: dict[str, Any], defaults: Any = None) -> dict[str, ClusterConfig]:
    return {c.primary: c for c in parse_clusters(entries, {} if defaults is None else defaults)}


def messages(entries: dict[str, Any], defaults: Any = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(entries, defaults)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


# -- what is right ----------------------------------------------------------------------


def test_default__is_a_cluster_without_any_entry() -> None:
    assert parse({"default": {}}) == {"default": ClusterConfig("default")}


def test_defaults__are_those_of_the_contract() -> None:
    config = ClusterConfig("default")
    assert (config.balancer, config.read_your_writes) == ("round_robin", "position")
    assert (config.pin_seconds, config.max_lag, config.fallback) == (5.0, 10.0, "primary")
    assert ReplicaConfig("replica").weight == 1


def test_config__is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        ClusterConfig("default").pin_seconds = 1  # type: ignore[misc]


def test_alias_without_entry__belongs_to_no_cluster() -> None:
    assert list(parse({"default": {}, "legacy": {}})) == ["default"]


def test_default__may_be_absent() -> None:
    assert list(parse({"orders": {"APPS": ["orders"]}, "legacy": {}})) == ["orders"]


def test_replicas__join_their_primary_in_the_order_of_the_settings() -> None:
    clusters = parse(
        {
            "orders1": {"REPLICA_OF": "orders"},
            "replica2": {"REPLICA_OF": "default", "WEIGHT": 2},
            "default": {},
            "replica1": {"REPLICA_OF": "default"},
            "orders": {"APPS": ["orders"]},
        }
    )
    assert clusters["default"].replicas == (ReplicaConfig("replica2", 2), ReplicaConfig("replica1"))
    assert clusters["orders"].replicas == (ReplicaConfig("orders1"),)


def test_primary__needs_no_entry_of_its_own() -> None:
    clusters = parse({"default": {}, "other": {}, "copy": {"REPLICA_OF": "other"}})
    assert clusters["other"].replicas == (ReplicaConfig("copy"),)


def test_apps__are_apps_and_single_models() -> None:
    apps = ("orders", "billing.Invoice", "billing.LABEL")
    config = parse({"default": {}, "orders": {"APPS": apps}})["orders"]
    assert config.apps == {"orders"}
    assert config.models == {"billing.invoice", "billing.label"}


def test_single_model__may_leave_the_cluster_of_its_app() -> None:
    entries = {"default": {}, "a": {"APPS": ["billing"]}, "b": {"APPS": ["billing.Invoice"]}}
    clusters = parse(entries)
    assert clusters["a"].apps == {"billing"}
    assert clusters["b"].models == {"billing.invoice"}


def test_options__of_a_cluster_win_over_those_for_all() -> None:
    clusters = parse(
        {"default": {"PIN_SECONDS": 2}, "orders": {"APPS": ["orders"]}},
        {"PIN_SECONDS": 9, "BALANCER": "random", "MAX_LAG": None, "FALLBACK": "error"},
    )
    assert (clusters["default"].pin_seconds, clusters["orders"].pin_seconds) == (2.0, 9.0)
    assert {c.balancer for c in clusters.values()} == {"random"}
    assert {c.max_lag for c in clusters.values()} == {None}
    assert {c.fallback for c in clusters.values()} == {"error"}


def test_always_primary__is_a_list_for_one_cluster_or_for_all() -> None:
    some = {"default": {"ALWAYS_PRIMARY": ["orders", "billing.Invoice"]}, "orders": {"APPS": []}}
    clusters = parse(some, {"ALWAYS_PRIMARY": ["!sessions"]})
    named = AlwaysPrimary(frozenset({"orders", "billing.invoice"}))
    assert clusters["default"].always_primary == named
    assert clusters["orders"].always_primary == AlwaysPrimary(removed=frozenset({"sessions"}))
    assert ClusterConfig("default").always_primary == AlwaysPrimary()


@pytest.mark.parametrize("mode", ["position", "pin", "off"])
def test_read_your_writes__has_three_modes(mode: str) -> None:
    assert parse({"default": {"READ_YOUR_WRITES": mode}})["default"].read_your_writes == mode


@pytest.mark.parametrize(
    "balancer", ["round_robin", "random", "weighted", "least_used", "shop.nearest", min]
)
def test_balancer__is_a_name_a_dotted_path_or_a_callable(balancer: Any) -> None:
    assert parse({"default": {"BALANCER": balancer}})["default"].balancer == balancer


@pytest.mark.parametrize(
    ("entries", "app", "model", "rule"),
    [
        ([], "shop", "book", None),
        (["shop"], "shop", "Book", True),
        (["!shop"], "shop", "Book", False),
        (["shop.Book"], "shop", "book", True),
        (["shop", "!shop.Book"], "shop", "book", False),
        (["!shop", "shop.BOOK"], "shop", "book", True),
        (["!shop", "shop.BOOK"], "shop", "author", False),
    ],
)
def test_always_primary__goes_by_the_model_and_then_by_its_app(
    entries: list[str], app: str, model: str, rule: bool | None
) -> None:
    assert AlwaysPrimary.parse(entries).rule(app, model) is rule


def test_always_primary__with_a_name_and_its_opposite_is_refused() -> None:
    told = "names both 'orders' and '!orders'"
    [message] = messages({"default": {"ALWAYS_PRIMARY": ["orders", "!orders"]}})
    assert told in message
    assert message.endswith("Keep one of them.")


# -- what is wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parent", "told"),
    [
        ("defualt", "there is no database 'defualt'. Did you mean 'default'?"),
        ("elsewhere", "there is no database 'elsewhere'."),
        (None, "there is no database None."),
        (["default"], "there is no database ['default']. Did you mean 'default'?"),
        ("copy", "a database cannot be a replica of itself. Name its primary."),
    ],
)
def test_replica_of__must_name_another_database(parent: Any, told: str) -> None:
    where = f"{ROUTER.format('copy')}['REPLICA_OF']"
    assert messages({"default": {}, "copy": {"REPLICA_OF": parent}}) == [f"{where}: {told}"]


def test_replica_of_a_replica__is_refused() -> None:
    assert messages(
        {
            "default": {},
            "copy": {"REPLICA_OF": "default"},
            "copy2": {"REPLICA_OF": "copy"},
        }
    ) == [
        f"{ROUTER.format('copy2')}['REPLICA_OF']: 'copy' is a replica too. "
        "Name the primary itself, 'default'."
    ]


def test_replicas_of_each_other__are_refused() -> None:
    told = messages({"default": {}, "a": {"REPLICA_OF": "b"}, "b": {"REPLICA_OF": "a"}})
    assert len(told) == 2


@pytest.mark.parametrize(
    "labels",
    [["orders"], ["billing.Invoice"], ["billing.invoice"]],
)
def test_app_or_model__lives_in_one_cluster(labels: list[str]) -> None:
    entries = {"default": {}, "a": {"APPS": ["orders", "billing.Invoice"]}, "b": {"APPS": labels}}
    told = f"{labels[0].lower()!r} belongs to 'a' already. A model lives in one cluster."
    assert messages(entries) == [f"{ROUTER.format('b')}['APPS']: {told}"]


@pytest.mark.parametrize("value", ["orders", 5, None, [5], ["orders", None], True])
def test_apps__must_be_a_list_of_labels(value: Any) -> None:
    assert messages({"default": {}, "orders": {"APPS": value}}) == [
        f"{ROUTER.format('orders')}['APPS']: must be a list of app labels and models, "
        f'not {value!r}. For example ["orders", "billing.Invoice"].'
    ]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"PIN_SECOND": 1}, "['PIN_SECOND']: unknown option. Did you mean 'PIN_SECONDS'?"),
        ({"REPLICAOF": "x"}, "['REPLICAOF']: unknown option. Did you mean 'REPLICA_OF'?"),
        ({"APP": ["x"]}, "['APP']: unknown option. Did you mean 'APPS'?"),
        ({"pin_seconds": 1}, "['pin_seconds']: unknown option. Did you mean 'PIN_SECONDS'?"),
        (
            {"COLOUR": 1},
            "['COLOUR']: unknown option. Known: ALWAYS_PRIMARY, APPS, BALANCER, FALLBACK, MAX_LAG, "
            "PIN_SECONDS, READ_YOUR_WRITES, REPLICA_OF, UNSAFE_METHODS.",
        ),
        ({5: 1}, "[5]: unknown option. Known: "),
        (
            {"BALANCER": "roundrobin"},
            "['BALANCER']: must be one of 'round_robin', 'random', 'weighted', 'least_used', "
            "or a callable or its dotted path, not 'roundrobin'. Did you mean 'round_robin'?",
        ),
        ({"BALANCER": 3}, "['BALANCER']: must be one of "),
        ({"BALANCER": ["random"]}, "['BALANCER']: must be one of "),
        (
            {"READ_YOUR_WRITES": "pinned"},
            "['READ_YOUR_WRITES']: must be one of 'position', 'pin', 'off', not 'pinned'. "
            "Did you mean 'pin'?",
        ),
        ({"READ_YOUR_WRITES": False}, "['READ_YOUR_WRITES']: must be one of "),
        (
            {"PIN_SECONDS": "5"},
            "['PIN_SECONDS']: must be a number of seconds of at least 0, not '5'.",
        ),
        ({"PIN_SECONDS": -1}, "['PIN_SECONDS']: must be a number of seconds of at least 0, not -1"),
        ({"PIN_SECONDS": None}, "['PIN_SECONDS']: must be a number of seconds of at least 0"),
        ({"PIN_SECONDS": True}, "['PIN_SECONDS']: must be a number of seconds of at least 0"),
        ({"PIN_SECONDS": float("inf")}, "['PIN_SECONDS']: must be a number of seconds of at least"),
        ({"PIN_SECONDS": float("nan")}, "['PIN_SECONDS']: must be a number of seconds of at least"),
        (
            {"MAX_LAG": 0},
            "['MAX_LAG']: must be a number of seconds above 0 or None, not 0.",
        ),
        ({"MAX_LAG": "10s"}, "['MAX_LAG']: must be a number of seconds above 0 or None"),
        (
            {"FALLBACK": "eror"},
            "['FALLBACK']: must be one of 'primary', 'error', 'lagging', not 'eror'. "
            "Did you mean 'error'?",
        ),
        (
            {"FALLBACK": None},
            "['FALLBACK']: must be one of 'primary', 'error', 'lagging', not None.",
        ),
    ],
)
def test_cluster_option__is_checked_by_name_and_value(entry: Any, told: str) -> None:
    [message] = messages({"default": entry})
    assert message.startswith(f"{ROUTER.format('default')}{told}")
    assert repr(next(iter(entry.values()))) in message or "unknown option" in message
    if "REPLICAOF" not in entry and "APP" not in entry:
        [message] = messages({"default": {}}, entry)
        start = f"POOLROUTER['ROUTING']{told}".replace("APPS, ", "").replace(
            ", REPLICA_OF", ", STORE"
        )
        assert message.startswith(start)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"WEIGHT": 0}, "['WEIGHT']: must be a whole number, at least 1, not 0."),
        ({"WEIGHT": -2}, "['WEIGHT']: must be a whole number, at least 1, not -2."),
        ({"WEIGHT": 1.5}, "['WEIGHT']: must be a whole number, at least 1, not 1.5."),
        ({"WEIGHT": "2"}, "['WEIGHT']: must be a whole number, at least 1, not '2'."),
        ({"WEIGHT": True}, "['WEIGHT']: must be a whole number, at least 1, not True."),
        ({"WEIGTH": 2}, "['WEIGTH']: unknown option. Did you mean 'WEIGHT'?"),
        ({"PIN_SECONDS": 2}, "['PIN_SECONDS']: belongs to the primary's entry. Write it on 'def"),
        ({"BALANCER": "random"}, "['BALANCER']: belongs to the primary's entry. Write it on 'de"),
        ({"APPS": ["orders"]}, "['APPS']: belongs to the primary's entry. Write it on 'default'."),
    ],
)
def test_replica_option__is_checked_by_name_and_value(entry: Any, told: str) -> None:
    [message] = messages({"default": {}, "copy": {"REPLICA_OF": "default", **entry}})
    assert message.startswith(f"{ROUTER.format('copy')}{told}")


def test_weight__is_for_replicas_only() -> None:
    assert messages({"default": {"WEIGHT": 2}}) == [
        f"{ROUTER.format('default')}['WEIGHT']: belongs to a replica's entry. "
        "Write it beside REPLICA_OF."
    ]


@pytest.mark.parametrize("entry", ["default", ["default"], None, 5])
def test_entry__must_be_a_mapping(entry: Any) -> None:
    assert messages({"default": {}, "copy": entry}) == [
        f"{ROUTER.format('copy')}: must be a mapping, not {entry!r}. "
        'For example {"REPLICA_OF": "default"}.'
    ]


@pytest.mark.parametrize("defaults", ["pin", ["pin"], 5])
def test_defaults__must_be_a_mapping(defaults: Any) -> None:
    assert messages({"default": {}}, defaults) == [
        f"POOLROUTER['ROUTING']: must be a mapping, not {defaults!r}. "
        'For example {"PIN_SECONDS": 5}.'
    ]


def test_default_for_all__of_a_single_cluster_is_refused() -> None:
    [message] = messages({"default": {}}, {"APPS": ["orders"]})
    assert message.startswith("POOLROUTER['ROUTING']['APPS']: unknown option.")


def test_every_mistake__is_told_at_once() -> None:
    told = messages(
        {
            "default": {"PIN_SECONDS": -1, "BALANCER": "rnd"},
            "copy": {"REPLICA_OF": "nowhere"},
            "copy2": {"REPLICA_OF": "default", "WEIGHT": 0},
        },
        {"FALLBACK": "never"},
    )
    assert len(told) == 5


def test_long_value__is_cut() -> None:
    [message] = messages({"default": {"BALANCER": "x" * 500}})
    assert len(message) < 300
