"""Turn samples of the past into geometry that templates draw."""
