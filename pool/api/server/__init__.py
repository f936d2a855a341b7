"""Run the server process: its application, its start and its end."""
