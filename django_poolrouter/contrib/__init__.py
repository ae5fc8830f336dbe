"""Plug-ins for other packages, one file or folder each.

Settings and projects name them; nothing in this package imports them.
"""
