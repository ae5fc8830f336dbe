"""What runs on a connection of a cluster, where it runs instead, and why.

``router``, ``backends`` and the rooms above them may import this one.
"""
