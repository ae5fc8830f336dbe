"""A project with tests of its own, which `test_test_runner` runs as a user would."""
