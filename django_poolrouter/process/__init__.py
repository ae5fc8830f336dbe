"""What this process has: its pools, its clusters and their end.

``statements``, ``status`` and the rooms above them may import this one.
"""
