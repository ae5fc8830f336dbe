"""One file for each command.

Django finds them by name; nothing imports them.
"""
