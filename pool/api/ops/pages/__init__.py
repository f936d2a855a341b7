"""Show the pages, one module each."""
