"""A project that web servers and task workers run, for tests that watch them from outside."""
