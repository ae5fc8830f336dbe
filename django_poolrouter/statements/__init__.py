"""Records what runs on connections of clusters, redirects reads, and logs decisions.

``router``, ``backends`` and the rooms above them may import this one.
"""
