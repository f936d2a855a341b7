"""Run linkpool's Celery tasks, which keep the pools full and the ledger up to date."""
