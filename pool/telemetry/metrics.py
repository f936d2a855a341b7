"""Count what each process does.

Create Metrics only after PROMETHEUS_MULTIPROC_DIR is set: the client library decides at its import
whether values are shared between processes. Never put a customer id or a slug in a label.
"""

from __future__ import annotations

from functools import partial


class Metrics:
    """The counters and histograms of one process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.claims = counter(
            "linkpool_claims",
            "Claims answered, by outcome: new, reused, direct (made on the spot), empty, paused, "
            "recovering or error",
            ["meeting", "outcome"],
        )
        self.claim_seconds = histogram(
            "linkpool_claim_seconds",
            "Seconds from reading a claim to its answer, waiting in line included",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )
        self.claim_batch_size = histogram(
            "linkpool_claim_batch_size",
            "Customers served by one script call in Redis",
            buckets=(1, 2, 4, 8, 16, 32, 64),
        )
        self.topup_links = counter(
            "linkpool_topup_links",
            "Links requested from the provider, by outcome: added, or the reason why not; lost: "
            "perhaps made, but the answer did not arrive",
            ["meeting", "outcome"],
        )
        self.provider_requests = counter(
            "linkpool_provider_requests",
            "Requests to the provider by HTTP status, or the kind of error if there was none",
            ["workspace", "status"],
        )
        self.provider_seconds = histogram(
            "linkpool_provider_seconds",
            "Seconds from a request to the provider to the last byte of its answer",
            buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
        )
        self.webhooks = counter(
            "linkpool_webhooks",
            "Booking events by outcome: received, unreadable, repeated, bad-signature, then "
            "settled, unmatched or ignored",
            ["workspace", "event", "outcome"],
        )
        self.authentication_failures = counter(
            "linkpool_authentication_failures",
            "Requests without a valid key, signature or token, by door: "
            "api, webhook, sign-in, metrics, token or public-key",
            ["door"],
        )
        self.fences = counter(
            "linkpool_fences",
            "Pools whose fence fell: Redis may have forgotten claims, so they were recovered",
        )
        self.quarantined_links = counter(
            "linkpool_quarantined_links",
            "Links set aside because they may have been shown; they are never handed out",
        )
        self.meeting_failures = counter(
            "linkpool_meeting_failures",
            "Meetings that a task of the worker failed for, while it went on with the others",
            ["task", "meeting"],
        )
        self.conflicts = counter(
            "linkpool_conflicts",
            "Signs that one link reached two customers; anything above 0 is an alarm",
        )

    def fence_fell(self, quarantined: int) -> None:
        """Count one fallen fence and the links it cost."""
        self.fences.inc()
        self.quarantined_links.inc(quarantined)


class BeatMetrics:
    """The counters of beat, which is one process and shares them with no other."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter

        self.registry = CollectorRegistry()
        self.messages = Counter(
            "linkpool_beat_messages",
            "Messages that beat sent, by task",
            ["task"],
            registry=self.registry,
        )
