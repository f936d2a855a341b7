"""Stand in for NeetoCal: one-off links, booking pages, signed webhooks, and its possible faults.

A separate program. Nothing imports it, and it imports nothing of linkpool: it is reached
over HTTP, like the real one. Start it with `python -m sandbox`; `--help` names every flag.
"""
