"""The web side: the claim lane, the routes, and the pages."""
