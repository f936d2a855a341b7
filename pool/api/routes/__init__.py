"""The framework's routes, a file per resource."""
