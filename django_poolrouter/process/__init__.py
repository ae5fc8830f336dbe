"""What this process has: its pools and its clusters, and how they end.

``statements``, ``status`` and the rooms above them may import this one.
"""
