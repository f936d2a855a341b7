"""What the contestants are loaded with."""
