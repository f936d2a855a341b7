"""Keep open pages up to date, with one reading and one rendering for all that show the same."""
