"""Draw which call goes wrong, and how. The same seed gives the same sequence."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from sandbox.knobs import PROBABILITIES, Knobs

# Slugs that must be refused: path tricks, markup, controls, empty, far too long, not ASCII.
BAD_SLUGS = (
    "../x",
    'a b"<',
    "one-off-\nx",
    "",
    "one-off-" + "a" * 300,
    "javascript:alert(1)",
    "one-off-ünï",
    "%2e%2e%2fadmin",
)


class Misbehaviour:
    """Draw once per call, whatever the knobs are: runs with one seed treat calls alike."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._bad_slugs = 0
        self.reseed()

    def reseed(self) -> None:
        """Start the sequence of the knob `seed` from its beginning."""
        seed = self._knobs.seed
        self._fates = random.Random(seed)  # noqa: S311 - repeatable is what is wanted
        # Separate from the fates, so that a jitter does not change which calls go wrong.
        self._details = random.Random(seed + 1)  # noqa: S311 - as above

    def draw(self) -> str | None:
        """Return the p_ knob that affects this call, or None."""
        point = self._fates.random()
        for name in PROBABILITIES:
            point -= getattr(self._knobs, name)
            if point < 0:
                return name
        return None

    def latency_seconds(self) -> float:
        """Return how long this call waits before anything else happens, in seconds."""
        jitter = self._knobs.latency_jitter_seconds
        return self._knobs.latency_seconds + (self._details.random() * jitter if jitter else 0.0)

    def bad_slug(self) -> str:
        """Return the next of BAD_SLUGS, in turn."""
        self._bad_slugs += 1
        return BAD_SLUGS[(self._bad_slugs - 1) % len(BAD_SLUGS)]

    def coin(self) -> bool:
        """Return True half of the time."""
        return self._details.random() < 0.5

    def pick(self, items: Sequence[str]) -> str:
        """Return one of `items`, which must not be empty."""
        return self._details.choice(items)

    def shuffle(self, items: list[Any]) -> None:
        """Put `items` in random order, in place."""
        self._details.shuffle(items)
