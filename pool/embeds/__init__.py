"""Write what a page shows for a claim: the provider's embed, in which only the slug varies."""

from pool.embeds.arguments import arguments

__all__ = ["arguments"]
