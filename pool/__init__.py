"""linkpool: one-off scheduling links, made ahead of time and claimed in about a millisecond."""
