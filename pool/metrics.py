"""What each process counts. Import only after PROMETHEUS_MULTIPROC_DIR is set: the client
library decides then whether values are shared between processes.

Never a customer id or a slug in a label.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from pool.carried_counts import carry_over

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics(data_dir: Path, part: str) -> None:
    """Lets all processes of a part count into files of one directory, and go on from what
    those before them had counted.

    Must run before prometheus_client is first imported, once, in the part's first process.
    """
    # Process ids repeat from container to container, host names do not.
    directory = data_dir.absolute() / "metrics" / f"{part}-{socket.gethostname()}"
    directory.mkdir(parents=True, exist_ok=True)
    os.environ[MULTIPROC_DIR] = str(directory)
    carry_over(directory)


class Metrics:
    """The counters and histograms of one process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self.registry = CollectorRegistry()
        registry = self.registry
        self.claims = Counter(
            "linkpool_claims",
            "Claims answered, by outcome: new, reused, direct (made on the spot), empty, paused, "
            "recovering or error",
            ["meeting", "outcome"],
            registry=registry,
        )
        self.claim_seconds = Histogram(
            "linkpool_claim_seconds",
            "Seconds from reading a claim to its answer, waiting in line included",
            registry=registry,
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )
        self.claim_batch_size = Histogram(
            "linkpool_claim_batch_size",
            "Customers served by one script call in Redis",
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64),
        )
        self.topup_links = Counter(
            "linkpool_topup_links",
            "Links asked of the provider by outcome: added, or why not; lost: perhaps made, "
            "but nobody knows it",
            ["meeting", "outcome"],
            registry=registry,
        )
        self.provider_requests = Counter(
            "linkpool_provider_requests",
            "Requests to the provider by HTTP status, or a word where there was none",
            ["workspace", "status"],
            registry=registry,
        )
        self.provider_seconds = Histogram(
            "linkpool_provider_seconds",
            "Seconds from a request to the provider to the last byte of its answer",
            registry=registry,
            buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
        )
        self.webhooks = Counter(
            "linkpool_webhooks",
            "Booking events by outcome: received, unreadable, repeated, bad-signature, then "
            "settled, unmatched or ignored",
            ["workspace", "event", "outcome"],
            registry=registry,
        )
        self.authentication_failures = Counter(
            "linkpool_authentication_failures",
            "Requests without a valid key or signature, by door: api, webhook, sign-in or metrics",
            ["door"],
            registry=registry,
        )
        self.fences = Counter(
            "linkpool_fences",
            "Pools whose fence fell: Redis may have forgotten claims, so they were recovered",
            registry=registry,
        )
        self.quarantined_links = Counter(
            "linkpool_quarantined_links",
            "Links set aside because they may have been shown; they are never handed out",
            registry=registry,
        )
        self.meeting_failures = Counter(
            "linkpool_meeting_failures",
            "Meetings that a task of the worker failed for, while it went on with the others",
            ["task", "meeting"],
            registry=registry,
        )
        self.conflicts = Counter(
            "linkpool_conflicts",
            "Signs that one link reached two customers; anything above 0 is an alarm",
            registry=registry,
        )

    def fence_fell(self, quarantined: int) -> None:
        """Counts one fallen fence and the links it cost."""
        self.fences.inc()
        self.quarantined_links.inc(quarantined)
