"""Load the contestants."""
