"""Prints the newest tag each time that a line comes in; argument 1 says in which process.

- "command": in this one, whose first read it is.
- "prefork": in a child of this one, which read before.
"""

import os
import sys

import django


def newest() -> str:
    from tests.support.testapp.shop.models import Tag

    return str(Tag.objects.latest("pk").name)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.testproject.settings"
    django.setup()
    if sys.argv[1] == "prefork":
        newest()
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print("ready", flush=True)
    for _ in sys.stdin:
        print(newest(), flush=True)
