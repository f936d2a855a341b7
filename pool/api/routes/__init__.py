"""Serve everything but claims through the framework, one file per resource."""
