"""The server process: its application, its start and its end."""
