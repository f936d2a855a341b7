"""The benchmark: linkpool against its peers, side by side, on the machine it runs on."""
