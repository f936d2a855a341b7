"""Serve HTTP: the claim path, the routes, and the pages."""
