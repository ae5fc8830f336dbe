"""django-cachalot: a list that was read from a replica must not stay as it was for ever.

Its keys have the alias that was read, and a write invalidates those of the primary.  A receiver can
invalidate those of the replicas too.  But a replica that lags is read, and cached, after that.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.packages.scripts import need

OURS = {"CACHALOT_ADDITIONAL_SUPPORTED_DATABASES": ["django_poolrouter.backends.postgresql"]}
PRIMARY = {"CACHALOT_DATABASES": ["default"]}


@pytest.mark.parametrize(
    ("settings", "what", "lag", "later", "in_the_end", "warnings"),
    [
        (OURS, "", False, "old", "old", 1),
        (OURS, "receiver", False, "new", "new", 1),
        (OURS, "receiver", True, "old", "old", 1),
        ({**OURS, "CACHALOT_TIMEOUT": 1}, "receiver", True, "old", "new", 0),
        ({**OURS, **PRIMARY}, "", True, "new", "new", 0),
    ],
    ids=["fault", "receiver", "receiver-lag", "receiver-lag-timeout", "only-the-primary"],
)
def test_cached_list__after_a_write(
    site: Any,
    settings: dict[str, Any],
    what: str,
    lag: bool,
    later: str,
    in_the_end: str,
    warnings: int,
) -> None:
    need("cachalot")
    found = site.run("cached", ["cachalot"], replicas=True, lag=lag, what=what, **settings)
    assert found == {
        "warnings": warnings,
        "first": ["old"],
        "at once": ["new"] if later == "new" and not lag else ["old"],
        "later": [later],
        "in the end": [in_the_end],
    }


@pytest.mark.parametrize("alias", ["named", "chosen"])
def test_block__is_invalidated_when_it_ends(site: Any, alias: str) -> None:
    """What others cache while it is open is not kept."""
    need("cachalot")
    found = site.run("cached_block", ["cachalot"], replicas=True, what=alias, **PRIMARY)
    assert found == {"first": "old", "inside": "old", "after": "new"}
