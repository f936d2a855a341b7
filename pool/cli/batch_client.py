"""Ask a running linkpool for batches of claims, over HTTP, and wait as it says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import takewhile
from typing import Any
from urllib.parse import urlsplit

import httpx

from pool.errors import Forbidden, InvalidRequest, LinkpoolError, Unauthorized, UnknownMeeting

LONGEST_WAIT_SECONDS = 60.0
REQUEST_SECONDS = 60.0
_HERE = ("127.0.0.1", "::1", "localhost")
_PASSING = frozenset({408, 429, 500, 502, 503, 504})

Claim = dict[str, Any]


class NotReachable(LinkpoolError):
    """No linkpool answers there, or none within the time that the caller allows."""


@dataclass(frozen=True, slots=True)
class Result:
    """Hold the link that one customer was given, or why there is none."""

    status: int
    slug: str = ""
    url: str = ""
    error: str = ""

    @property
    def cells(self) -> tuple[object, ...]:
        """Return the cells of the file of results."""
        return self.slug, self.url, self.status, self.error


class BatchClient:
    """Claims for many customers of a meeting; refusals that pass are waited for.

    `waiting` is called with the reason before each wait. Give up after `patience_seconds` in
    which no customer got an answer.
    """

    def __init__(
        self,
        url: str,
        key: str,
        meeting: str,
        *,
        patience_seconds: float,
        waiting: Callable[[str], None] = lambda _: None,
        http: httpx.Client | None = None,
    ) -> None:
        self._address = f"{url}/v1/meetings/{meeting}/claims:batch"
        self._headers = {"x-api-key": key, "content-type": "application/json"}
        self._patience = patience_seconds
        self._waiting = waiting
        self._http = http or httpx.Client(
            timeout=REQUEST_SECONDS,
            follow_redirects=False,
            # A proxy of the environment must not see the key of a linkpool on this very machine.
            trust_env=urlsplit(url).hostname not in _HERE,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def claim(
        self, wanted: Sequence[Claim | Result], settled: Callable[[list[Result]], None]
    ) -> None:
        """Claim for all.

        Call `settled` with the results in order, each as soon as all before it are known. A result
        among the claims is passed on as it is. Raise Unauthorized, Forbidden, UnknownMeeting,
        InvalidRequest or NotReachable.
        """
        results = [each if isinstance(each, Result) else None for each in wanted]
        done = 0
        last_progress = time.monotonic()
        while done < len(wanted):
            claims = {
                at: each
                for at, each in enumerate(wanted)
                if results[at] is None and not isinstance(each, Result)
            }
            seconds, why = self._ask(claims, results) if claims else (0.0, "")
            if any(results[at] is not None for at in claims):
                last_progress = time.monotonic()
            ready = [*takewhile(lambda each: each is not None, results[done:])]
            settled([each for each in ready if each is not None])
            done += len(ready)
            if why:
                if time.monotonic() - last_progress + seconds > self._patience:
                    raise NotReachable(f"{why}; run the command again to go on")
                self._waiting(why)
                time.sleep(seconds)

    def _ask(self, claims: dict[int, Claim], results: list[Result | None]) -> tuple[float, str]:
        """Ask once, and put each result that stands in its place.

        If some are still open, return how long to wait, and why.
        """
        try:
            answer = self._http.post(
                self._address,
                content=json.dumps({"claims": [*claims.values()]}),
                headers=self._headers,
            )
        except httpx.HTTPError as error:
            return 1.0, f"linkpool does not answer at {self._address}: {type(error).__name__}"
        if answer.status_code != 200:
            return self._refused(answer)
        seconds, why = 0.0, ""
        try:
            given = answer.json()["results"]
            for (at, claim), each in zip(claims.items(), given, strict=True):
                problem = each.get("problem")
                if problem is None:
                    claimed = each["claim"]
                    results[at] = Result(each["status"], claimed["slug"], claimed["url"])
                elif each["status"] in _PASSING:
                    seconds = max(seconds, float(problem.get("retry_after_seconds", 1)))
                    why = str(problem["detail"])
                else:
                    results[at] = Result(each["status"], error=_reason(problem))
                if each["customer_id"] not in (claim["customer_id"], None):
                    raise ValueError("results of other customers")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InvalidRequest(
                f"{self._address} does not answer as linkpool does: {error}"
            ) from None
        return min(seconds, LONGEST_WAIT_SECONDS), why

    def _refused(self, answer: httpx.Response) -> tuple[float, str]:
        try:
            problem = answer.json()
            reason = _reason(problem) if isinstance(problem, dict) else ""
        except ValueError:
            reason = ""
        reason = reason or f"{self._address} answers {answer.status_code}"
        if answer.status_code in _PASSING:
            return _retry_after_seconds(answer.headers.get("retry-after", "")), reason
        kinds = {401: Unauthorized, 403: Forbidden, 404: UnknownMeeting}
        raise kinds.get(answer.status_code, InvalidRequest)(reason)


def _reason(problem: dict[str, Any]) -> str:
    """Return a problem in one line."""
    details = [str(each) for each in problem.get("errors") or ()]
    return " ".join("; ".join(details or [str(problem["detail"])]).split())


def _retry_after_seconds(said: str) -> float:
    """Return how long `Retry-After` asks to wait, in seconds or by a date; a second by default."""
    if said.isascii() and said.isdigit():
        seconds = float(said[:9])
    else:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - time.time()
        except ValueError:
            seconds = 1.0
    return min(max(seconds, 0.1), LONGEST_WAIT_SECONDS)
