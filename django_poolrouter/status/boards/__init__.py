"""The files in which each process shows its pools to the others.

The rest of ``status``, and the readers of its report, may import this room.
"""
