"""Serve people who read and act: the page, the terminal and the API share this package."""
