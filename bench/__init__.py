"""Measure linkpool against its peers, side by side, on the machine this runs on."""
