"""A local NeetoCal: one-off links, booking pages and signed webhooks, and every fault we fear.

A program of its own. Nobody imports it and it imports nothing of linkpool: it is reached
over HTTP, like the real one. Start it with `python -m sandbox`; `--help` names every flag.
"""
