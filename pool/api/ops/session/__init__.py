"""Know who looks at the page, and that a form comes from the page itself."""
