"""Requests, answers and problems, whatever the route."""
