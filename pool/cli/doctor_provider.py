"""Report to `linkpool doctor` on a workspace's provider, its links, and its webhook."""

from __future__ import annotations

import http.client
from collections.abc import AsyncIterator

from pool.cli.findings import Finding, failed, ok, warning
from pool.compose import Parts
from pool.config.own_address import webhook_address
from pool.config.settings import Settings, Workspace
from pool.errors import LedgerError, LinkpoolError, ProviderError
from pool.model.meetings import Meeting
from pool.operations.words import count_words
from pool.providers.self_test import send_self_test
from pool.providers.signatures import SIGNATURE_HEADER, sign
from pool.up.ports import reachable

CLOCK_SECONDS = 30.0


async def provider(parts: Parts, name: str, *, make_link: bool) -> AsyncIterator[Finding]:
    """Yield all findings on a workspace's provider; with `make_link`, also on a link it made."""
    what = f"provider {name}"
    asked = parts.providers[name]
    try:
        offered = {meeting.sid: meeting for meeting in await asked.meetings()}
    except ProviderError as error:
        yield failed(what, str(error), "Check subdomain, API key and network.")
        return
    yield ok(what, f"answers, and lists {count_words(len(offered), 'meeting')}")
    async for finding in _link_base(parts, name):
        yield finding
    offset = asked.clock_offset_seconds
    if offset is None:
        yield warning(
            f"{what} clock", "the provider sends no Date header, so its clock cannot be compared"
        )
    elif abs(offset) > CLOCK_SECONDS:
        yield warning(
            f"{what} clock",
            f"its clock and ours are {abs(offset):.0f} s apart",
            "Let this machine follow a time server.",
        )
    else:
        yield ok(f"{what} clock", "agrees with ours")
    try:
        ours = [each for each in await parts.ledger.meetings.all() if each.workspace == name]
    except LedgerError:
        return
    for meeting in ours:
        there = offered.get(meeting.sid)
        if there is None or there.disabled:
            problem = "is disabled at the provider" if there else "is not listed by the provider"
            yield warning(f"meeting {meeting.sid}", problem, "Check the SID, or enable it there.")
    if make_link and ours:
        yield await _make_one(parts, name, ours[0])


async def _make_one(parts: Parts, workspace: str, meeting: Meeting) -> Finding:
    from pool.supply.pool_writer import make_and_pool

    what = f"links of {workspace}"
    try:
        outcome = await make_and_pool(
            parts.makers[workspace], parts.store, parts.ledger, meeting.sid, pools=meeting.pools
        )
    except ProviderError as error:
        return failed(what, str(error), "Follow the provider's message; no link was pooled.")
    except LinkpoolError as error:
        return warning(what, f"a link was made but not pooled: {error}")
    if outcome != "added":
        return warning(what, f"a link was made but not pooled: {outcome}")
    return ok(what, f"one was made for {meeting.sid}, is as documented, and was added to the pool")


async def _link_base(parts: Parts, name: str) -> AsyncIterator[Finding]:
    workspace = parts.settings.workspace(name)
    if workspace is None:
        return
    what = f"links of {name}"
    if workspace.has_link_base:
        yield ok(what, f"begin with {workspace.link_base_url}, as set")
        return
    try:
        await parts.bases.publish()
    except LinkpoolError:
        return
    learned = parts.bases.learned(name)
    if learned is None:
        yield ok(what, f"none has been made yet; expected to begin with {workspace.api_url}")
    else:
        yield ok(what, f"begin with {learned}, as the provider's answers say")


async def from_outside(settings: Settings, name: str) -> Finding:
    """Return the result of a test event that took the way of the provider's webhooks."""
    what = f"webhook {name} from outside"
    if not settings.public_url:
        return warning(
            what,
            "not tried: the address that the provider reaches is not known",
            "Set LINKPOOL_PUBLIC_URL.",
        )
    address = webhook_address(settings, name)
    result = await send_self_test(settings.workspaces[name], address)
    if result.passed:
        return ok(what, f"{address}: {result.words}")
    return failed(what, f"{address}: {result.words}", "Mend what stands there.")


def webhook(settings: Settings, name: str, workspace: Workspace) -> Finding:
    """Return whether the API takes an event that is signed with the workspace's secret."""
    what = f"webhook {name}"
    if workspace.webhook_secret is None:
        return warning(
            what,
            "no secret is set, so bookings are found late, by asking the provider",
            "Set LINKPOOL_NEETOCAL_WEBHOOK_SECRET to the secret of the webhook at the provider.",
        )
    body = b'{"event":"linkpool_doctor"}'
    signature = sign(workspace.webhook_secret.get_secret_value(), body)
    host = reachable(settings.host)
    connection = http.client.HTTPConnection(host, settings.port, timeout=5)
    try:
        connection.request("POST", f"/v1/webhooks/{name}", body, {SIGNATURE_HEADER: signature})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return warning(
            what,
            f"the API does not answer at {host}:{settings.port} ({type(error).__name__})",
            "Start it; see LINKPOOL_HOST and LINKPOOL_PORT.",
        )
    finally:
        connection.close()
    if status == http.HTTPStatus.ACCEPTED:
        return ok(what, "an event signed with our secret is accepted")
    return failed(
        what,
        f"an event signed with our secret is answered {status}",
        "The API runs with another secret than this command: restart it with the same settings.",
    )
