"""What proves at the end of a test that nothing of it is left can fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_poolrouter import pools
from django_poolrouter.process.registry import registry
from tests.support.databases import ENGINES, THREADS, assert_no_threads, configured

pytestmark = pytest.mark.harness


@pytest.fixture
def databases(tmp_path: Path, django_db_blocker: Any) -> Iterator[dict[str, dict[str, Any]]]:
    with django_db_blocker.unblock():
        yield {"default": {"ENGINE": ENGINES["sqlite"], "NAME": str(tmp_path / "db")}}


def test_configured__fails_while_a_lease_is_out(databases: Any) -> None:
    with pytest.raises(AssertionError, match="DatabasePool 'default'"), configured(databases):
        lease = pools["default"].checkout()
    lease.pool.checkin(lease)


def test_configured__ends_the_packages_threads(databases: Any) -> None:
    databases["default"]["OPTIONS"] = {"pool": {"min_idle": 1}}
    with configured(databases):
        with pools["default"].connection():
            pass
        assert any(thread.name.startswith(THREADS) for thread in threading.enumerate())
    assert not any(thread.name.startswith(THREADS) for thread in threading.enumerate())


def test_configured__starts_over_after_a_failed_test_too(databases: Any) -> None:
    def fail() -> None:
        pools["default"].execute("SELECT 1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), configured(databases):
        fail()
    assert registry.all_pools() == []


def test_thread__that_lives_on_is_named() -> None:
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, name=f"{THREADS}test")
    thread.start()
    try:
        with pytest.raises(AssertionError, match="poolrouter-test lives on"):
            assert_no_threads(0)
    finally:
        ended.set()
        thread.join()
    assert_no_threads(0)
