"""Write what a page shows for a claim: the provider's embed, or that the customer has booked."""

from pool.embeds.arguments import arguments
from pool.embeds.code import html
from pool.embeds.options import EMBED_TYPES, EmbedType, Options, check_embed_type

__all__ = ["EMBED_TYPES", "EmbedType", "Options", "arguments", "check_embed_type", "html"]
