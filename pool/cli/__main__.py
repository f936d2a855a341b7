"""`python -m pool.cli`: the same as `linkpool`."""

from pool.cli.main import main

main()
