"""Run Django's own tests on our engines and name what passes on the stock ones alone.

For each vendor the stock engine runs first (its result is kept in --work), then ours on
the same labels, each on a fresh server.  Exits with 1 if a test fails or is skipped on ours
that passes on the stock engine, but for those in EXPECTED.  With one process it also counts which
statements marked the leases of our pools.

Some tests need a PostgreSQL with ICU collations, which the wheel's has not: name one with
POOLROUTER_PG_BIN=/usr/lib/postgresql/15/bin, say.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.conformance.suite import OURS, STOCK, run, source_tree

LABELS = """
    aggregation async backends basic bulk_create constraints custom_pk datatypes
    db_functions db_utils dbshell defer delete expressions expressions_window fixtures
    force_insert_update foreign_object get_or_create handlers indexes inspectdb
    introspection lookup m2m_through migrate_signals migrations model_fields
    model_inheritance multiple_database ordering postgres_tests prefetch_related
    queries queryset_pickle raw_query schema select_for_update select_related
    serializers servers sessions_tests signals test_runner test_utils timezones
    transaction_hooks transactions unmanaged_models update
""".split()  # noqa: SIM905 (fifty lines otherwise)
# With --routed: what the router could break.
ROUTED_LABELS = """
    cache contenttypes_tests forms_tests migrations model_forms multiple_database sessions_tests
    test_utils
""".split()  # noqa: SIM905
# With the router, each with its reason.
EXPECTED_ROUTED = {
    "migrations.test_commands.MakeMigrationsTests"
    ".test_makemigrations_consistency_checks_respect_routers": (
        "expects that no other alias is looked at, as without DATABASE_ROUTERS"
    )
}
# Tests of Django's native pool itself, which our engine replaces; each with its reason.
NATIVE = "backends.postgresql.tests.Tests."
EXPECTED = {
    f"{NATIVE}test_pooling_not_support_persistent_connections": (
        "expects the native pool's own words about CONN_MAX_AGE"
    ),
    **dict.fromkeys(
        (
            f"{NATIVE}test_connect_pool",
            f"{NATIVE}test_connect_pool_set_to_true",
            f"{NATIVE}test_pool_check_can_be_overridden",
            f"{NATIVE}test_pool_options_not_mutated",
            f"{NATIVE}test_pooling_health_checks",
        ),
        "looks at the native pool (where psycopg_pool is installed)",
    ),
    f"{NATIVE}test_nodb_cursor_reraise_exceptions": (
        "is test_pool_options_not_mutated: after a test with subtests Django's runner for"
        " several processes names the next failure by the test before"
    ),
}
# Django skips them where OPTIONS has a "pool".
SKIPPED_WITH_POOL = {
    f"backends.base.test_base.ConnectionHealthChecksTests.{name}"
    for name in ("test_health_checks_enabled", "test_set_autocommit_health_checks_enabled")
}
# They time themselves, and fail on a busy machine.
FLAKY = ("test_crafted_xml_performance",)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    default = Path(tempfile.gettempdir(), "django-conformance")
    parser.add_argument("--vendor", action="append", choices=STOCK, help="default: all")
    parser.add_argument("--parallel", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--hold", default="request", help="our pools' option (default: request)")
    parser.add_argument(
        "--routed", action="store_true", help="ours with the router and a replica of each alias"
    )
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one run")
    parser.add_argument("--work", type=Path, default=default, help=f"default: {default}")
    parser.add_argument("labels", nargs="*", help="default: what touches a database")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    tree = source_tree(options.work)
    failed = False
    for vendor in options.vendor or STOCK:
        answer = compare(tree, vendor, options)
        print(json.dumps(answer, indent=1), flush=True)
        failed |= bool(answer["regressions"] or answer["newly_skipped"])
    return 1 if failed else 0


def compare(tree: Path, vendor: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run both engines of a vendor; returns counts and the tests that differ."""
    every = ROUTED_LABELS if options.routed else LABELS
    labels = options.labels or [
        label for label in every if label != "postgres_tests" or vendor == "postgresql"
    ]
    stock = _stock(tree, vendor, labels, options)
    # With an option, Django itself skips two tests, of health checks that its own pool makes.
    pool = {"OPTIONS": {"pool": {"hold": options.hold}}} if options.hold != "request" else {}
    ours = run(tree, vendor, {"ENGINE": OURS[vendor], **pool}, labels, options)
    bad = set(stock["failed"])
    expected = {**EXPECTED, **(EXPECTED_ROUTED if options.routed else {})}
    return {
        "run": f"{tree.name}, {vendor}, {options.parallel} process(es)",
        "stock": _counts(stock),
        "ours": _counts(ours),
        "marks": dict(sorted(ours["marks"].items(), key=lambda pair: -pair[1])),
        "expected": {
            name: expected[_test(name)] for name in ours["failed"] if _test(name) in expected
        },
        "regressions": sorted(
            name
            for name in set(ours["failed"]) - bad
            if _test(name) not in expected and not any(flaky in name for flaky in FLAKY)
        ),
        "newly_skipped": sorted(
            set(ours["skipped"])
            - set(stock["skipped"])
            - bad
            - (SKIPPED_WITH_POOL if pool else set())
        ),
    }


def _stock(
    tree: Path, vendor: str, labels: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    what = "routed" if options.routed else f"x{options.parallel}"
    kept = options.work / f"{tree.name}-{vendor}-{what}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        if found["labels"] == labels:
            return found
    found = run(tree, vendor, {"ENGINE": STOCK[vendor]}, labels, options)
    kept.write_text(json.dumps({**found, "labels": labels}))
    return found


def _test(name: str) -> str:
    """Return the name of a test without what its subtest is called."""
    return re.split(r" [\[(]", name, maxsplit=1)[0]


def _counts(result: dict[str, Any]) -> dict[str, Any]:
    return {
        "engine": result["engine"],
        "tests": result["tests"],
        "failed": len(result["failed"]),
        "skipped": len(result["skipped"]),
        "seconds": result["seconds"],
    }


if __name__ == "__main__":
    sys.exit(main())
