"""Run trials 17 and 18: a ledger that is away, and webhooks in any order."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from pool.compose import Parts
from sandbox.signing import SIGNATURE_HEADER, Signed, signed
from tests.trials.claims import static
from tests.trials.harness.answers import Tape
from tests.trials.harness.checker import check
from tests.trials.harness.crowd import Crowd, until
from tests.trials.harness.stage import WEBHOOK_SECRET, Stage, signal_all
from tests.trials.harness.trial import Outcome, Trial
from tests.trials.stages import whole

TIMES = 5  # each event comes so often
SLOW_SECONDS = 2.0  # what a claim may take at most, whoever is away


def ledger_locked(stage: Stage, seed: int, size: int) -> Outcome:
    """17: another program keeps the SQLite file locked for `size` seconds.

    Claims go on as usual; webhooks are refused with 503 until the lock is released, and accepted
    when the sender repeats them; at the end nothing is missing.
    """
    sid = static(stage, "17", seed, 3_000 + 400 * size)
    tape = Tape()
    crowd = Crowd(
        tape, stage.server_ports, sid, stage.key, seed=seed, connections=8, again=0.2,
        pause_seconds=0.02,
    )  # fmt: skip
    statuses: Counter[int] = Counter()
    crowd.start()
    try:
        until(lambda: len(tape.claims) > 20, 10, "claims are answered")
        booked = sorted({claim.slug for claim in tape.claims[:20]})
        with stage.ledger_locked():
            locked_at = time.monotonic()
            with ThreadPoolExecutor(5) as senders, httpx.Client(timeout=30) as http:
                sent = senders.map(
                    lambda slug: send(stage, http, event("booking_created", f"17-{slug}", slug)),
                    booked[:5],
                )
                statuses.update(answer.status_code for answer in sent)
            time.sleep(max(0.0, size - (time.monotonic() - locked_at)))
        with httpx.Client(timeout=30) as http:
            for slug in booked:
                answer = send(stage, http, event("booking_created", f"17-{slug}", slug))
                statuses[answer.status_code] += 1
                tape.accepted(answer.json()["event_id"])
    finally:
        crowd.stop()
    verdict = check(stage.evidence(tape, sid))
    wrong = list(crowd.wrong)
    if tape.refusals:
        wrong.append(f"claims were refused: {dict(tape.refusals)}")
    if tape.slowest_seconds > SLOW_SECONDS:
        wrong.append(f"a claim took {tape.slowest_seconds:.1f} s")
    if statuses != {503: 5, 202: len(booked)}:
        wrong.append(f"webhooks were answered {dict(statuses)}")
    consumed = _states(stage, sid, booked)
    if set(consumed.values()) != {"consumed"}:
        wrong.append(f"booked links are {Counter(consumed.values())}")
    notes = f"slowest claim {tape.slowest_seconds * 1000:.0f} ms, webhooks {dict(statuses)}"
    return Outcome("17", seed, crowd.asked + 25, 1, verdict.violations, tuple(wrong), notes=notes)


def shuffled_webhooks(stage: Stage, seed: int, size: int) -> Outcome:
    """18: about `size` webhooks, each five times and all in random order.

    Half come before their claims are recorded; some cancellations come before the booking,
    and some of those name no link. Every link ends as its bookings say, in ledger and Redis.
    """
    chance = random.Random(seed)
    bookings = size // 2
    sid = static(stage, "18", seed, bookings)
    tape = Tape()
    assert stage.worker is not None
    pids = stage.worker.pids
    signal_all(pids, signal.SIGSTOP)
    try:
        Crowd(
            tape, stage.server_ports, sid, stage.key, seed=seed, connections=20, total=bookings,
            again=0.0,
        ).run(60)  # fmt: skip
        customers = {claim.slug: claim.customer for claim in tape.claims}
        events: list[Signed] = []
        expected: dict[str, str] = {}
        for number, slug in enumerate(customers):
            booking = f"18-{seed}-{number}"
            expected[slug] = "consumed"
            events.append(event("booking_created", booking, slug))
            if chance.random() < 0.4:
                events.append(event("booking_rescheduled", booking, slug))
            if chance.random() < 0.5:
                expected[slug] = "cancelled"
                named = slug if chance.random() < 0.7 else None
                events.append(event("booking_cancelled", booking, named))
        sending = events * TIMES
        chance.shuffle(sending)
        half = len(sending) // 2
        answers = _send_all(stage, sending[:half])
    finally:
        signal_all(pids, signal.SIGCONT)
    answers += _send_all(stage, sending[half:])
    statuses = Counter(answer.status_code for answer in answers)
    for answer in answers:
        if answer.status_code == 202:
            tape.accepted(answer.json()["event_id"])
    until(
        lambda: _states(stage, sid, expected) == expected, 60, "every link is as its bookings say"
    )
    verdict = check(stage.evidence(tape, sid))
    wrong = []
    if set(statuses) != {202}:
        wrong.append(f"webhooks were answered {dict(statuses)}")
    if len(set(tape.webhooks)) != len(events):
        wrong.append(f"{len(events)} events became {len(set(tape.webhooks))}")
    wrong += stage.work(lambda parts: _redis_agrees(parts, sid, customers, expected))
    final = Counter(_states(stage, sid, expected).values())
    notes = f"{len(events)} events x {TIMES}, {dict(final)}"
    return Outcome("18", seed, len(sending), 0, verdict.violations, tuple(wrong), notes=notes)


def event(name: str, booking: str, slug: str | None) -> Signed:
    """Return a webhook as the provider writes it; the link is named where a visitor sees it."""
    url = "https://sandbox/bookings/" + booking + (f"?one_off_link={slug}" if slug else "")
    payload = {
        "event": name,
        "booking": {
            "sid": booking,
            "name": "Zoë",
            "email": f"{booking}@example.com",
            "status": "cancelled" if name == "booking_cancelled" else "confirmed",
            "client_booking_url": url,
            "created_at": "2026-11-22T06:00:00Z",
            "updated_at": "2026-11-22T06:00:00Z",
        },
    }
    return signed(payload, secret=WEBHOOK_SECRET, escape="raw", wrong=False)


def send(stage: Stage, http: httpx.Client, event: Signed, number: int = 0) -> httpx.Response:
    """Send it. Return the API's answer; the servers take turns."""
    port = stage.server_ports[number % len(stage.server_ports)]
    return http.post(
        f"http://127.0.0.1:{port}/v1/webhooks/default",
        content=event.body,
        headers={SIGNATURE_HEADER: event.signature or "", "content-type": "application/json"},
    )


def _send_all(stage: Stage, events: list[Signed]) -> list[httpx.Response]:
    # All connections are kept: with more than it may keep, the client closes idle ones, among them
    # some that it has just given to another thread.
    kept = httpx.Limits(max_keepalive_connections=None)
    with httpx.Client(timeout=30, limits=kept) as http, ThreadPoolExecutor(16) as senders:
        return list(senders.map(lambda e, n: send(stage, http, e, n), events, itertools.count()))


def _states(stage: Stage, sid: str, slugs: Any) -> dict[str, str]:
    rows = stage.rows("SELECT slug, state FROM links WHERE meeting_sid = ?", sid)
    return {slug: state for slug, state in rows if slug in slugs}


async def _redis_agrees(
    parts: Parts, sid: str, customers: dict[str, str], expected: dict[str, str]
) -> list[str]:
    """Check Redis: customers who booked are told so; those who cancelled may claim anew."""
    wrong = []
    for slug, customer in customers.items():
        held = await parts.store.claim_of(sid, customer)
        told = held.state if held else "cancelled"
        if told != expected[slug]:
            wrong.append(f"{slug} is {expected[slug]}, and Redis says {told}")
    return wrong


TRIALS = [
    Trial("17", "ledger locked under load", ledger_locked, full=60, bounded=6, stage=whole),
    Trial(
        "18",
        "webhooks repeated and shuffled",
        shuffled_webhooks,
        full=1_000,
        bounded=120,
        stage=whole,
    ),
]
