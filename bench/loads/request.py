"""Write one HTTP request as bytes, with a place for the customer's id."""

from __future__ import annotations

import json
from dataclasses import dataclass

# 24 characters, as long as the ids that replace it, so that lengths stay true.
CUSTOMER = "CUSTOMER-ID-CUSTOMER-ID-"
# 6 characters: the meeting, where a load goes over many.
MEETING = "MTNG00"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to 127.0.0.1; CUSTOMER in it stands for the customer's id."""

    port: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""

    def template(self) -> bytes:
        """Return the whole request, with the id left open."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body or self.method == "POST":
            lines.append(f"Content-Length: {len(self.body.encode())}")
        return "\r\n".join([*lines, "", self.body]).encode()

    def filled(self, customer_id: str) -> bytes:
        """Return the request of one customer, whose id has 24 characters."""
        return self.template().replace(CUSTOMER.encode(), customer_id.encode())


def claim_request(port: int, path: str, *, key: str | None = None) -> Request:
    """Return a claim as a site sends it."""
    headers = (("Content-Type", "application/json"),)
    if key:
        headers = (*headers, ("X-API-Key", key))  # type: ignore[assignment]
    return Request(port, "POST", path, headers, json.dumps({"customer_id": CUSTOMER}))


def customer_id(run: str, thread: int, number: int) -> str:
    """Return the id that claims.lua gives this customer: 24 characters."""
    return f"{run[:6]:0<6}{thread:02d}{number:016d}"
