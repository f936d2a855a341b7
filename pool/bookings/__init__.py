"""Bring a booking from the webhook to its settled link."""
