"""What a test is told that waited in vain."""

from __future__ import annotations

import pytest

from tests.support.waiting import eventually

pytestmark = pytest.mark.harness


def test_eventually__returns_the_first_true_value() -> None:
    values = iter([0, "", None, "three", "four"])
    assert eventually(lambda: next(values)) == "three"


def test_eventually__fails_with_the_last_value_and_the_line_of_the_condition() -> None:
    with pytest.raises(AssertionError) as caught:
        eventually(lambda: "", 0)
    assert str(caught.value) == """not within 0 s: last '', of eventually(lambda: "", 0)"""


def test_eventually__looks_once_even_without_time() -> None:
    assert eventually(lambda: 7, 0) == 7


def test_eventually__fails_for_a_condition_without_a_source_too() -> None:
    with pytest.raises(AssertionError, match="last 0, of <method"):
        eventually([].__len__, 0)
