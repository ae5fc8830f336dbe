"""Backends of other people, pooled as the documentation says, each under an ENGINE of its own."""
