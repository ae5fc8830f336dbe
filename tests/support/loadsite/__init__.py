"""A site whose only page keeps a connection busy, for all kinds of servers and workers."""
