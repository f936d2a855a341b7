"""Read requests, form answers and problems, and frame messages, for every route."""
