"""Bring links from the provider into the pool."""
