"""One report of the pools of all processes on this host.

``apps``, ``management`` and ``contrib`` may import this room.
"""
