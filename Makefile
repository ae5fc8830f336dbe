# On a fresh Debian with Python 3.11+, make, git and apt:
#
#   make demo            the example shop on pooled, replicated databases, under load
#   make demo DB=sqlite  the same without servers; DB=mysql on MariaDB
#   make demo KEEP=1     leaves the site running until Ctrl-C
#   make test            all tests, on real servers; ARGS="-k name" goes to pytest
#   make hammer          the long runs: a minute each of users who read what they wrote while
#                        replicas lag; half a minute each of poolstatus under load
#   make conformance     Django's own test suite on our engines (an hour; ARGS="--vendor sqlite")
#   make bench           speed beside the peers, as ratios of one run
#   make lint types      what ruff and mypy say
#   make clean           removes what these made
#
# Each sets up what it needs in .venv, and installs system packages when root runs it.
# PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
DB     ?= postgresql
KEEP   ?=
ARGS   ?=

SETUP  := PYTHON=$(PYTHON) scripts/setup
PY     := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test hammer conformance bench lint types clean

help:
	@sed -n 's/^#   /  /p' Makefile

demo:
	@$(SETUP) demo-$(DB)
	@$(PY) -m example_project.demo --db $(DB) $(if $(filter-out 0 no,$(KEEP)),--keep)

test:
	@$(SETUP) test
	$(PY) -m pytest $(ARGS)

hammer:
	@$(SETUP) test
	CAUSALITY_SECONDS=60 POOLROUTER_LOAD_SECONDS=30 $(PY) -m pytest -rP \
		tests/stress/test_causality.py tests/integration/status/test_under_load.py $(ARGS)

conformance:
	@$(SETUP) conformance
	$(PY) -m tests.conformance $(ARGS)

bench:
	@$(SETUP) bench
	$(PY) -m benchmarks

lint:
	@$(SETUP) lint
	$(PY) -m ruff check
	$(PY) -m ruff format --check

types:
	@$(SETUP) types
	$(PY) -m mypy

clean:
	rm -rf .venv .tox build dist .coverage .coverage.* .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
