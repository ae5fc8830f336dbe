# On a fresh Debian with Python 3.11+, make, git and apt:
#
#   make demo            the example shop on pooled, replicated databases, under load
#   make demo DB=sqlite  the same without servers; DB=mysql on MariaDB
#   make demo KEEP=1     leaves the site running until Ctrl-C
#   make quick           unit tests and the SQLite contract: a minute, no server, no apt
#   make test            all tests, on real servers: 12 min; ARGS="-k name" goes to pytest
#   make lint types      what ruff and mypy say: a minute
#   make full            the long runs before a release, 2 h: the next four
#   make matrix          each Python with each Django: 15 min
#   make hammer          users who read what they wrote while replicas lag, and requests that
#                        change their sessions, for a minute each; poolstatus under load and
#                        others, for half a minute: 20 min
#   make packages        our backends under django-tenants, Sentry, django-prometheus and PostGIS,
#                        with a hammer of a minute for each combination, and other packages
#                        beside the router: 16 min
#   make conformance     Django's own test suite on our engines: an hour
#                        (ARGS="--vendor sqlite")
#   make bench           speed beside the peers, as ratios of one run
#   make clean           removes what these made
#
# Each sets up what it needs in .venv, and installs system packages when root runs it. The
# times are for two cores, after that. PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
DB     ?= postgresql
KEEP   ?=
ARGS   ?=

SETUP  := PYTHON=$(PYTHON) scripts/setup
PY     := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo quick test lint types full matrix hammer packages conformance bench clean
# They share .venv, and the machine.
.NOTPARALLEL:

help:
	@sed -n 's/^#   /  /p' Makefile

demo:
	@$(SETUP) demo-$(DB)
	@$(PY) -m example_project.demo --db $(DB) $(if $(filter-out 0 no,$(KEEP)),--keep)

quick:
	@$(SETUP) quick
	HYPOTHESIS_PROFILE=quick $(PY) -m pytest -n auto --maxprocesses 4 -k "unit or sqlite" \
		tests/unit tests/contract $(ARGS)

test:
	@$(SETUP) test
	$(PY) -m pytest $(ARGS)

lint:
	@$(SETUP) lint
	$(PY) -m ruff check
	$(PY) -m ruff format --check

types:
	@$(SETUP) types
	$(PY) -m mypy

# `make -k full` goes on when one of them fails.
full: matrix hammer packages conformance

matrix:
	PYTHON=$(PYTHON) scripts/lanes -m matrix

hammer:
	@$(SETUP) test
	CAUSALITY_SECONDS=60 SESSION_SECONDS=60 POOLROUTER_LOAD_SECONDS=30 STRESS_SECONDS=30 \
		POOLROUTER_EXIT_RUNS=100 $(PY) -m pytest -rP -m stress $(ARGS)

packages:
	@$(SETUP) packages
	POOLROUTER_REQUIRE_PACKAGES=1 POOLROUTER_REQUIRE_POSTGIS=1 HAMMER_SECONDS=60 \
		$(PY) -m pytest -rP tests/integration/packages $(ARGS)

conformance:
	@$(SETUP) conformance
	$(PY) -m tests.conformance $(ARGS)
	$(PY) -m tests.conformance --routed --vendor postgresql --vendor sqlite

bench:
	@$(SETUP) bench
	$(PY) -m benchmarks

clean:
	rm -rf .venv .tox build dist .coverage .coverage.* .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
