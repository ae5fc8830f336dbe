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
    ("settings", "what", "lag", "later", "in_the_end"),
    [
        (OURS, "", False, "old", "old"),
        (OURS, "receiver", False, "new", "new"),
        (OURS, "receiver", True, "old", "old"),
        ({**OURS, "CACHALOT_TIMEOUT": 1}, "receiver", True, "old", "new"),
        (PRIMARY, "", True, "new", "new"),
    ],
    ids=["fault", "receiver", "receiver-lag", "receiver-lag-timeout", "only-the-primary"],
)
def test_cached_list__after_a_write(
    site: Any, settings: dict[str, Any], what: str, lag: bool, later: str, in_the_end: str
) -> None:
    need("cachalot")
    found = site.run("cached", ["cachalot"], replicas=True, lag=lag, what=what, **settings)
    assert found == {
        "first": ["old"],
        "at once": ["new"] if later == "new" and not lag else ["old"],
        "later": [later],
        "in the end": [in_the_end],
    }
