"""Management commands, and the guard that refuses them on a replica.

Only ``apps`` may import this room.
"""
