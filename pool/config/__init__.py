"""Settings, and the addresses that follow from them."""
