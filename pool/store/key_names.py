"""Name every key that linkpool keeps in Redis, and say what each holds.

All keys of a pool share its name as their hash tag, so that one script may touch them on a
Redis Cluster: `{sid}`, or `{sid:shard/shards}` where a meeting has several pools. What concerns a
meeting as a whole is under `{sid}` in any case; all keys of a workspace share `{w:name}`. A
function's docstring gives its key's type and content.
"""

from __future__ import annotations

MEETINGS = "lp:meetings"  # set of the SIDs that are published in this Redis
SHARDS = "lp:shards"  # hash: SID → how many shards it has; absent: one
VERSION = "lp:version"  # counter that grows whenever a meeting is published
HEARTBEAT = "lp:heartbeat"  # milliseconds since 1970 of the last sweep a worker ran
BROKER = "lp:broker:"  # begins all keys of Celery, where the broker is this Redis

ALERTS = "lp:{alerts}:standing"  # hash: name of a trouble → how it stands, as JSON
NOTICES = "lp:{alerts}:notices"  # list: notices to send, oldest first, as JSON
NOTICES_RETRY = "lp:{alerts}:retry"  # hash `attempts`, `not_before` (ms) of the oldest notice
LINK_BASES = "lp:link-bases"  # hash: workspace → what its links' URLs were seen to begin with
SET_ASIDE = "lp:set-aside"  # hash: SID, a space, an entry of a claims stream → what it held
FENCE_FELL = "lp:{alerts}:fence"  # present for a while after a pool lost its fresh links
OUTLOOKS = "lp:outlooks"  # hash: SID → usual claims in each hour of the coming day, packed
HISTORY_LAST = "lp:history:last"  # hash: SID → its last sample at each step, packed
HISTORY_DIPS = "lp:history:dips"  # hash: SID → a level that a pool fell to between two sweeps
PULSES = "lp:pulses"  # hash: process → when it last spoke and what it said; lua/pulse.lua
TALLIES = "lp:tallies"  # hash: `tally(…)` → total since Redis began
TALLIES_LAST = "lp:tallies:last"  # hash: SID → its totals at the last sample of each step, packed


def epoch(sid: str) -> str:
    """String `run_id:master_replid:nonce`, or `sealed:token:run_id:master_replid`."""
    return f"lp:{{{sid}}}:epoch"


def fresh(sid: str) -> str:
    """Sorted set: slug → milliseconds since 1970 when it was made. The oldest goes first."""
    return f"lp:{{{sid}}}:fresh"


def claims(sid: str) -> str:
    """Stream: claims that the ledger does not have yet, trimmed once recorded.

    lua/stream.lua documents its form.
    """
    return f"lp:{{{sid}}}:claims"


def meeting(sid: str) -> str:
    """Hash: the meeting's settings that scripts read, and all of them as JSON."""
    return f"lp:{{{sid}}}:meeting"


def demand(sid: str) -> str:
    """Hash: demand and totals of a meeting.

    `heat` and `at` are a decaying count of claims that asked for a new link. The totals since
    Redis began are `streamed` (claims put into the claims stream), `pooled` (links that entered
    the pool) and `booked` (bookings).
    """
    return f"lp:{{{sid}}}:demand"


def nudged(sid: str) -> str:
    """String: present for a second after a claim asked for a top-up."""
    return f"lp:{{{sid}}}:nudged"


def block(sid: str) -> str:
    """String: why the provider makes no links for this meeting and when to probe again, as JSON."""
    return f"lp:{{{sid}}}:block"


def recovery_lock(sid: str) -> str:
    """String: token of the owner of this pool's recovery."""
    return f"lp:{{{sid}}}:recovering"


def asserted(sid: str) -> str:
    """Hash: what API processes have asserted again since the fence fell; it expires by itself."""
    return f"lp:{{{sid}}}:asserted"


def binding(sid: str, customer: str) -> str:
    """String: the link bound to a customer. `customer` is the keyed hash of the customer id."""
    return f"lp:{{{sid}}}:b:{customer}"


def visitors(sid: str) -> str:
    """String: when this meeting's allowance of new visitors is whole again (ms since 1970)."""
    return f"lp:{{{sid}}}:visitors"


def visitors_from(sid: str, address: str) -> str:
    """String: the same of one address. `address` is its keyed hash."""
    return f"lp:{{{sid}}}:visitors:{address}"


def history(sid: str, step_seconds: int, chunk: int) -> str:
    """String: what changed in the slots of `step_seconds` of one stretch of time."""
    return f"lp:{{{sid}}}:h:{step_seconds}:{chunk}"


def history_taken(step_seconds: int) -> str:
    """Stream: the slots of `step_seconds` in which a sweep took samples of all meetings."""
    return f"lp:history:taken:{step_seconds}"


def tally(sid: str, name: str) -> str:
    """Field of the hash `TALLIES`: how often something became of visitors or links."""
    return f"{sid} {name}"


def tally_past(sid: str, step_seconds: int, chunk: int) -> str:
    """String: what was counted in the slots of `step_seconds` of one stretch of time."""
    return f"lp:{{{sid}}}:t:{step_seconds}:{chunk}"


def budget(workspace: str) -> str:
    """Hash: the request budget that all workers and the direct path share."""
    return f"lp:{{w:{workspace}}}:budget"


def workspace_block(workspace: str) -> str:
    """String: why the provider refuses this workspace and when to probe again, as JSON."""
    return f"lp:{{w:{workspace}}}:block"


def top_up_lock(workspace: str) -> str:
    """String: token of the owner of this workspace's one top-up loop."""
    return f"lp:{{w:{workspace}}}:top-up"


def task_lock(name: str) -> str:
    """String: token of the owner of a periodic task that should not run twice at once."""
    return f"lp:lock:{name}"
