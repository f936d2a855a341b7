"""The command line: `linkpool`."""

from pool.cli.main import main

__all__ = ["main"]
