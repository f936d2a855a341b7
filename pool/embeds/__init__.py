"""What a page shows for a claim: the provider's embed, with only the slug varying."""

from pool.embeds.arguments import arguments

__all__ = ["arguments"]
