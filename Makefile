# The habits of this repository, one command each. `make` alone lists them.

PYTHON ?= .venv/bin/python
BASE ?= main
ROOMS ?=

.DEFAULT_GOAL := help
.PHONY: help framing mutants mutants-changed

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

framing: ## Split every row of the framing table at every byte, fuzz for ten minutes, send 100,000 requests through each proxy
	LINKPOOL_SECURITY=long nice -n 10 $(PYTHON) -m pytest -n 0 -s tests/security

mutants: ## Make one small change after the other to the core, and say which no test notices (ROOMS="supply ledger")
	nice -n 15 $(PYTHON) -m tests.mutants run $(ROOMS)

mutants-changed: ## The same in the functions that differ from a revision (BASE=main), in a bounded time
	nice -n 15 $(PYTHON) -m tests.mutants run --since $(BASE) --limit 100
