"""Answer a claim in about a millisecond."""
