"""gunicorn whose master has connections, idle and leased, before it forks its workers."""

from typing import Any

wsgi_app = "tests.support.serving.wsgi"
preload_app = True
workers = 2


def when_ready(server: Any) -> None:
    from tests.support.serving import work

    work.leave_idle()
    print("master at first:", work.session(), flush=True)


def on_exit(server: Any) -> None:
    from tests.support.serving import work

    print("master at last:", work.session(), flush=True)
