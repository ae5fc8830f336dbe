"""Django's own test suite on our backends (see ``python -m tests.conformance --help``)."""
