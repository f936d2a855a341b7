"""Who is measured: each can be started, refilled, asked and stopped."""
