"""Receivers of ``connection_created``: what they send counts only if it differs.

They run at each checkout.  A receiver that sends the same each time costs no reset.  One that sends
what the user of the moment needs never leaves it to the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.signals import connection_created

from django_poolrouter import pools
from tests.conftest import Vendor

# Statements of a receiver that leave something, for a value, and how to look at it.
CHANGE = {
    "sqlite": ("PRAGMA cache_size = {}", "PRAGMA cache_size"),
    "postgresql": (
        "SET app.user_id = '{}'",
        "SELECT nullif(current_setting('app.user_id', true), '')::int",
    ),
    "mariadb": ("SET max_statement_time = {}", "SELECT @@max_statement_time"),
}


class Receiver:
    """Sends its statements at each checkout, and counts how often it ran."""

    def __init__(self, vendor: Vendor) -> None:
        self.change, self.look = CHANGE[vendor.name]
        self.value: int | None = 1
        self.calls = 0
        self.fails = False

    def __call__(self, connection: Any, **kwargs: Any) -> None:
        self.calls += 1
        if self.value is not None:
            with connection.cursor() as cursor:
                cursor.execute(self.change.format(self.value))
        if self.fails:
            raise ValueError("the receiver fails")

    def seen(self) -> Any:
        """Return what a user of the connection finds."""
        with connection.cursor() as cursor:
            cursor.execute(self.look)
            return cursor.fetchone()[0]


@pytest.fixture
def receiver(vendor: Vendor) -> Iterator[Receiver]:
    receiver = Receiver(vendor)
    connection_created.connect(receiver)
    try:
        yield receiver
    finally:
        connection_created.disconnect(receiver)


@pytest.fixture(params=["request", "transaction"], autouse=True)
def use(request: pytest.FixtureRequest, vendor: Vendor, use_databases: Any) -> Callable[..., None]:
    def use(**options: Any) -> None:
        pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0, "hold": request.param}
        use_databases({"default": vendor.database({**pool, **options})})

    use()
    return use


def resets() -> int:
    return pools["default"].status().resets


def test_same_statements__mark_nothing(receiver: Receiver) -> None:
    for _ in range(3):
        assert receiver.seen() == 1
        connection.close()
    status = pools["default"].status()
    assert (status.marked, status.resets, status.connects) == (0, 0, 1)
    assert receiver.calls == 3


def test_other_statements__clear_the_session_and_run_again(receiver: Receiver) -> None:
    assert receiver.seen() == 1
    connection.close()
    receiver.value = 2
    assert receiver.seen() == 2
    assert resets() == 1
    assert pools["default"].status().marked == 0
    connection.close()
    calls = receiver.calls
    assert receiver.seen() == 2
    assert resets() == 1, "the same as at the last checkout"
    connection.close()
    assert receiver.calls == calls + 1


def test_receiver_that_falls_silent__leaves_nothing_of_the_last_user(
    receiver: Receiver, vendor: Vendor
) -> None:
    receiver.value = None
    clean = receiver.seen()
    connection.close()
    receiver.value = 7
    assert receiver.seen() == 7
    connection.close()
    receiver.value = None
    assert receiver.seen() == clean
    connection.close()


def test_receiver_inside_a_transaction__is_right_too(receiver: Receiver) -> None:
    for value in (1, 2, 2, 3):
        receiver.value = value
        with transaction.atomic():
            assert receiver.seen() == value
        connection.close()


def test_user_who_changes_what_the_receiver_set__marks_the_lease(receiver: Receiver) -> None:
    assert receiver.seen() == 1
    with connection.cursor() as cursor:
        cursor.execute(receiver.change.format(5))
    assert receiver.seen() == 5
    connection.close()
    assert receiver.seen() == 1
    connection.close()
    assert pools["default"].status().marked == 1


def test_receiver_that_fails__leaves_nothing(receiver: Receiver) -> None:
    receiver.value = None
    clean = receiver.seen()
    connection.close()
    receiver.value, receiver.fails = 9, True
    with pytest.raises(ValueError, match="the receiver fails"):
        receiver.seen()
    connection.close()
    receiver.value, receiver.fails = None, False
    assert receiver.seen() == clean
    connection.close()


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_parameters__count_too(vendor: Vendor) -> None:
    value = 1

    def receive(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('app.user_id', %s, false)", [str(value)])

    connection_created.connect(receive)
    try:
        for value in (1, 1, 2, 2):
            with connection.cursor() as cursor:
                cursor.execute(CHANGE[vendor.name][1])
                assert cursor.fetchone() == (value,)
            connection.close()
    finally:
        connection_created.disconnect(receive)
    assert resets() == 1


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
def test_functions__are_the_same_if_their_code_and_values_are(vendor: Vendor) -> None:
    factor = 2

    def receive(connection: Any, **kwargs: Any) -> None:
        own = factor
        connection.connection.create_function("times", 1, lambda n: n * own)

    connection_created.connect(receive)
    try:
        for factor in (2, 2, 3):
            with connection.cursor() as cursor:
                cursor.execute("SELECT times(5)")
                assert cursor.fetchone() == (5 * factor,)
            connection.close()
    finally:
        connection_created.disconnect(receive)
    assert resets() == 1


def test_with_rollback__nothing_is_compared(receiver: Receiver, use: Any) -> None:
    use(reset="rollback")
    receiver.seen()
    connection.close()
    receiver.value = None
    assert receiver.seen() == 1
    connection.close()
    assert resets() == 0
