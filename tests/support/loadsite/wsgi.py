"""For gunicorn; where asked for, a pool is used before the workers are forked."""

import os

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

if os.environ.get("USE_BEFORE_FORK"):
    from django.db import connection

    from tests.support.loadsite.urls import work

    work()
    connection.close()
