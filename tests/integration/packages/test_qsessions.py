"""django-qsessions: a session is what the last request made of it, however far replicas lag."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.packages.conftest import APPS
from tests.integration.packages.scripts import need

SETTINGS = {
    "SESSION_ENGINE": "qsessions.backends.db",
    "MIDDLEWARE": [
        "django_poolrouter.middleware.RoutingMiddleware",
        "qsessions.middleware.SessionMiddleware",
    ],
}


@pytest.mark.parametrize("lag", [False, True], ids=["one database", "lagging replicas"])
def test_session__keeps_what_an_earlier_request_saved(site: Any, lag: bool) -> None:
    need("qsessions")
    found = site.run("sessions", APPS["qsessions"], replicas=lag, lag=lag, **SETTINGS)
    assert found == {
        "first": ["cart"],
        "paid": ["cart", "paid"],
        "read and saved": ["cart", "paid", "seen"],
        "after that": ["cart", "paid", "seen"],
        "deleted": [],
    }
