"""Database backends with a pool, one folder for each vendor.

Settings name them; nothing in this package imports them.
"""
