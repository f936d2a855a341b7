"""Do what operators ask for on a page, and show how it went."""
