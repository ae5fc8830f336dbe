"""PostgreSQL, pooled.

Settings name this folder as ENGINE; only a GIS backend may import it.
"""
