"""Show what a visitor sees, on a page of a made-up company; only where the sandbox stands in."""
