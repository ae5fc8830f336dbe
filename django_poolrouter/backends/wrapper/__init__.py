"""The parts of a pooled ``DatabaseWrapper``.

Only ``backends.mixin`` and the vendors may import this room.
"""
