#!/usr/bin/env python
"""Django's command line for the example shop; works from any directory."""

import os
import sys
from pathlib import Path


def main() -> None:
    # The package is imported as `example_project.…`, so its parent must be importable.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
