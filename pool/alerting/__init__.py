"""Turn troubles into one notice each."""
