"""Hand links from the pool to customers."""
