"""Find troubles by rules, and send operators one notice when each starts and ends."""
