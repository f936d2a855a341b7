"""Read the settings, and derive addresses from them."""
