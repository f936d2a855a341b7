"""Run linkpool's Celery tasks, which keep the pools full and the ledger up to date."""

import pool  # noqa: F401 - first of all: it keeps out what libraries need not import
