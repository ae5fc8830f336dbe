"""Requests made by chance that use the session of each vendor, for `test_session_state`."""
