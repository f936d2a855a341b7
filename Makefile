# The habits of this repository, one command each. `make` alone lists them.

VENV ?= .venv
PYTHON ?= $(VENV)/bin/python
BASE ?= main
ROOMS ?=
SAMPLE ?=
ONLY ?=
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help install test quick unit lint types imports format trial bench picture schema framing mutants mutants-changed lock

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Make .venv with linkpool, editable, and all that its tests need
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install -q -e '.[test]'

test: ## Run the whole test suite
	$(PYTHON) -m pytest

quick: ## Run linters, types and import rules beside the unit tests
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target unit types lint imports

unit: ## Run the unit tests, which need no service
	$(PYTHON) -m pytest -q -n 3 tests/unit

lint: ## Check style and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: ## Check types
	$(VENV)/bin/mypy

imports: ## Check that imports point one way
	$(VENV)/bin/lint-imports

format: ## Format the code and mend what ruff can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

trial: ## Run trials in full size by their seed (ONLY=6,7 SEED=31; all of them without ONLY)
	$(PYTHON) -m tests.trials $(if $(ONLY),--only $(ONLY)) --full --seed $(SEED)

bench: ## Measure against the peers (ONLY="claims latency"; all measures without ONLY)
	$(PYTHON) -m bench $(if $(ONLY),--only $(ONLY))

picture: ## Draw the rooms and their imports anew (needs Graphviz)
	$(PYTHON) -m tests.architecture > docs/architecture.dot
	dot -Tsvg docs/architecture.dot > docs/pictures/architecture.svg

schema: ## Write pool/ledger/migrations/newest_sqlite.sql anew, after a migration was added
	$(PYTHON) -m tests.newest_schema

framing: ## Split every row of the framing table at every byte, fuzz for ten minutes, send 100,000 requests through each proxy
	LINKPOOL_SECURITY=long nice -n 10 $(PYTHON) -m pytest -n 0 -s tests/security

mutants: ## Make one small change after the other to the core, and say which no test notices (ROOMS="supply ledger"; SAMPLE=60 SEED=1 for some of each room)
	nice -n 15 $(PYTHON) -m tests.mutants run $(ROOMS) $(if $(SAMPLE),--sample $(SAMPLE) --seed $(SEED))

mutants-changed: ## Do the same in the functions that differ from a revision (BASE=main), in a bounded time
	nice -n 15 $(PYTHON) -m tests.mutants run --since $(BASE) --limit 100

lock: ## Renew requirements.lock and requirements-build.lock (needs Python 3.12)
	deploy/lock.sh
