"""Run the contestants: each can be started, refilled, asked and stopped."""
