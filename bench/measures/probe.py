"""Claim again and again until one claim is answered."""

from __future__ import annotations

import time

import httpx

_EVERY_SECONDS = 0.01


def until_claimed(
    url: str, key: str, customer_id: str, *, within_seconds: float = 120.0
) -> tuple[float, int]:
    """Return the seconds until this customer has a link, and the answer's status. Raise
    TimeoutError.
    """
    started = time.monotonic()
    last = "no answer"
    with httpx.Client(timeout=5.0, headers={"X-API-Key": key}) as client:
        while (took := time.monotonic() - started) < within_seconds:
            try:
                answer = client.post(url, json={"customer_id": customer_id})
            except httpx.TransportError as error:
                last = type(error).__name__
            else:
                if answer.status_code in (200, 201):
                    return time.monotonic() - started, answer.status_code
                last = f"{answer.status_code} {answer.text[:200]}"
            time.sleep(_EVERY_SECONDS)
    raise TimeoutError(f"no claim was answered within {took:.0f} s; the last answer: {last}")
