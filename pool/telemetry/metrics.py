"""Count what each process does.

Create Metrics only after PROMETHEUS_MULTIPROC_DIR is set: the client library decides at its import
whether values are shared between processes. Never put a customer id or a slug in a label.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from pool.errors import SettingsError

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics(data_dir: Path, part: str) -> None:
    """Let all processes of a part count into files of one directory.

    Counts continue from those of earlier processes. Must run once, in the part's first process,
    before prometheus_client is first imported. Raise SettingsError if the data directory cannot
    be made or written.
    """
    # Process ids repeat from container to container, host names do not.
    directory = data_dir.absolute() / "metrics" / f"{part}-{socket.gethostname()}"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        os.environ[MULTIPROC_DIR] = str(directory)
        carry_over(directory)
    except OSError as error:
        raise SettingsError(
            "LINKPOOL_DATA_DIR", f"cannot be written: {directory}: {error.strerror}"
        ) from None


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
            "Links requested from the provider, by outcome: added, or the reason why not; lost: "
            "perhaps made, but the answer did not arrive",
            ["meeting", "outcome"],
            registry=registry,
        )
        self.provider_requests = Counter(
            "linkpool_provider_requests",
            "Requests to the provider by HTTP status, or the kind of error if there was none",
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
            "Requests without a valid key, signature or token, by door: "
            "api, webhook, sign-in, metrics, token or public-key",
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
        """Count one fallen fence and the links it cost."""
        self.fences.inc()
        self.quarantined_links.inc(quarantined)


_KINDS = ("counter", "histogram")  # all kinds in use; files are named kind_pid.db
_CARRIED = "carried"  # takes the place of a process id


# If a counter shrinks, Prometheus assumes that it restarted from zero and adds its whole value to
# the increase. As one answer sums several processes, the restart of one would count the others'
# work a second time. So the counts of ended processes are kept.
def carry_over(directory: Path) -> None:
    """Move the counts of ended processes into one file per kind.

    A file that a crash left unreadable is dropped.
    """
    for kind in _KINDS:
        total: Counter[str] = Counter()
        kept = directory / f"{kind}_{_CARRIED}.db"
        ended = [path for path in directory.glob(f"{kind}_*.db") if not _lives(path)]
        for path in ended:
            total.update(_read(path))
        if not set(ended) - {kept}:
            continue
        # Readers look for .db files, so the file gets that name once it is complete.
        new = kept.with_suffix(".new")
        new.unlink(missing_ok=True)
        file = _counts_in()(str(new))
        for key, value in total.items():
            file.write_value(key, value, 0.0)
        file.close()
        for path in ended:
            path.unlink(missing_ok=True)
        if total:
            new.replace(kept)
        else:
            new.unlink()


def _read(path: Path) -> dict[str, float]:
    """Return the counts of a file by the library's keys, empty if it cannot be read."""
    try:
        found = {key: value for key, value, *_ in _counts_in().read_all_values_from_file(path)}
        for key in found:
            _name, _sample, _labels, _help = json.loads(key)
    except (OSError, RuntimeError, ValueError, TypeError, struct.error):
        return {}
    return found


def _counts_in() -> Any:
    # Not imported above: the library decides at its import whether counts are shared.
    from prometheus_client import mmap_dict

    return mmap_dict.MmapedDict


def _lives(path: Path) -> bool:
    """Return True if the process that a file is named after may still count into it.

    If the id was reused by another of our processes, that one continues the file.
    """
    pid = path.stem.rpartition("_")[2]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
