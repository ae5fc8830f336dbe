"""The site: its settings, and its processes, of which one does not know what another wrote."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

HERE = __package__
LIMIT = 10.0


class Site:
    """Django, set up as the test's order says.

    The order has the keys ``databases``, ``apps``, ``settings`` and ``lag``.  ``what`` tells the
    script what to do.  ``servers`` says how to reach the primary and the replicas as their
    superuser.
    """

    def __init__(self) -> None:
        import django
        from django.conf import settings

        order = json.loads(sys.argv[1])
        self.servers: dict[str, str] = order["servers"]
        self.lag: bool = order["lag"]
        self.lags = False
        self.what: str = order["what"]
        settings.configure(
            SECRET_KEY="only-for-tests",
            DATABASES=order["databases"],
            DATABASE_ROUTERS=["django_poolrouter.router.PoolRouter"],
            INSTALLED_APPS=["django_poolrouter", f"{HERE}.notes", *order["apps"]],
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            ALLOWED_HOSTS=["testserver"],
            USE_TZ=True,
            STATIC_URL="static/",  # wagtail wants it
            # Its hundred migrations make nothing that the tests need.  The tables that it refers
            # to are made in the same way.
            MIGRATION_MODULES=dict.fromkeys(("auth", "contenttypes", "taggit", "wagtailcore")),
            **order["settings"],
        )
        django.setup()

    @property
    def replicas(self) -> list[str]:
        """The servers that follow the primary; none if there is one database only."""
        return [name for name in self.servers if name != "primary"]

    @property
    def warnings(self) -> int:
        """How often the check of other packages warns."""
        from django.core.checks import run_checks

        return sum(message.id == "poolrouter.W025" for message in run_checks())

    @contextmanager
    def process(self) -> Iterator[None]:
        """Do something as a process or a user that did nothing before."""
        from django_poolrouter import scope

        if not self.lags:
            self.wait()
        with scope():
            yield

    def asks(self, question: Callable[[], Any]) -> Any:
        """Return what such a process is told."""
        with self.process():
            return question()

    def wait(self) -> None:
        """Return when the replicas have everything."""
        mark = _ask(self.servers["primary"], "SELECT pg_logical_emit_message(true, 'tests', '')")
        for name in self.replicas:
            deadline = time.monotonic() + LIMIT
            while not _ask(self.servers[name], f"SELECT pg_last_wal_replay_lsn() >= '{mark}'"):
                assert time.monotonic() < deadline, f"{name} does not follow"
                time.sleep(0.005)

    def let_replicas_lag(self) -> None:
        """Let the replicas stand still, if the order says so, and prove that they are read."""
        from .notes.models import Note

        if not self.lag:
            return
        self.pause()
        with self.process():
            fresh = Note.objects.create(text="fresh")
        assert not self.asks(Note.objects.filter(pk=fresh.pk).exists)

    def pause(self) -> None:
        """Let the replicas stand still."""
        self.wait()
        self.lags = True
        for name in self.replicas:
            _ask(self.servers[name], "SELECT pg_wal_replay_pause()")

    def attempt(self, script: Callable[[], Any]) -> Any:
        """Return what a script finds, or how it failed, while the replicas follow at first."""
        self.let_replicas_go()
        try:
            return script()
        except Exception:
            return traceback.format_exc()

    def let_replicas_go(self) -> None:
        """Let the replicas go on, and wait until they have everything."""
        for name in self.replicas:
            _ask(self.servers[name], "SELECT pg_wal_replay_resume()")
        self.lags = False
        self.wait()


def _ask(conninfo: str, sql: str) -> Any:
    import psycopg

    with psycopg.connect(conninfo, autocommit=True) as raw:
        row = raw.execute(sql).fetchone()
    assert row is not None
    return row[0]


def play(script: Callable[[Site], dict[str, Any]]) -> None:
    """Run a script on the site, and print what it found."""
    from django.db import connections

    found = script(Site())
    connections.close_all()
    print(json.dumps(found))
