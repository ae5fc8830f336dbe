"""Helpers of the tests: doubles, projects and apps to run, processes to start.

Nothing here is a test.  The database servers are in `tests.servers`, which the example's demo
and the benchmarks start too.
"""
