"""Check all that linkpool depends on, and say what to do where it fails: `linkpool doctor`."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import sys
import time
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from pool.cli.common import (
    DONE,
    FAILED,
    NOT_REACHABLE,
    AsJson,
    DataDir,
    print_json,
    run,
    settings_for,
)
from pool.cli.doctor_ledger import ledger
from pool.cli.doctor_provider import link_base
from pool.cli.doctor_redis import cluster, of_server, replicas, set_aside
from pool.cli.findings import Finding, Verdict
from pool.compose import Parts, compose
from pool.config.addresses import redis_url
from pool.config.proxy_warnings import proxy_warnings
from pool.config.settings import Settings, Workspace
from pool.errors import (
    LedgerError,
    LinkpoolError,
    NotifyFailed,
    ProviderError,
    SettingsError,
    StoreError,
    StoreUnavailable,
)
from pool.model.troubles import Notice
from pool.providers.signatures import SIGNATURE_HEADER
from pool.store.capabilities import acl as acl_rules
from pool.store.capabilities import check_redis
from pool.up.ports import reachable

CLOCK_SECONDS = 30.0


def doctor(
    make_link: Annotated[
        bool,
        typer.Option(help="Also make one link, check the answer, and add it to the pool."),
    ] = False,
    notify: Annotated[
        bool, typer.Option("--notify", help="Also send a test notice to LINKPOOL_NOTIFY_URL.")
    ] = False,
    acl: Annotated[
        bool,
        typer.Option("--acl", help="Only print the ACL rules that linkpool needs in Redis."),
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Check settings, Redis, database, workers, provider and webhook secret.

    Exit code 0 when all is well (warnings included), 1 when something failed, 2 when a setting
    stops it from looking, 3 when Redis or the database is not reachable.
    """
    if acl:
        sys.stdout.writelines(f"{rule}\n" for rule in acl_rules())
        raise typer.Exit(DONE)
    settings = settings_for(data_dir)

    async def work() -> list[Finding]:
        findings = [Finding("settings", "ok", f"data in {settings.data_dir.absolute()}")]
        findings += [
            Finding("proxies", "warning", text, "Set LINKPOOL_TRUSTED_PROXIES.")
            for text in proxy_warnings(settings)
        ]
        async with compose(settings) as parts:
            findings += [finding async for finding in examine(parts, make_link=make_link)]
            if notify:
                findings.append(await _notify(parts))
        return findings

    findings = run(work)
    if as_json:
        print_json([{"what": f.what, "verdict": f.verdict, "text": f.text, "to_do": f.to_do}
                    for f in findings])  # fmt: skip
    else:
        _print(findings)
    verdicts = {finding.verdict for finding in findings}
    code = FAILED if "failed" in verdicts else DONE
    raise typer.Exit(NOT_REACHABLE if "unreachable" in verdicts else code)


async def examine(parts: Parts, *, make_link: bool) -> AsyncIterator[Finding]:
    """Yield all findings, each after those that it depends on."""
    sound = True  # Redis and database, without which a link would be made for nothing
    async for finding in _redis(parts):
        sound = sound and finding.verdict in ("ok", "warning")
        yield finding
    async for finding in ledger(parts):
        sound = sound and finding.verdict in ("ok", "warning")
        yield finding
    async for finding in _workers(parts):
        yield finding
    if not parts.settings.workspaces:
        yield Finding(
            "provider",
            "failed",
            "no workspace is configured",
            "Set LINKPOOL_NEETOCAL_SUBDOMAIN and LINKPOOL_NEETOCAL_API_KEY, or use `linkpool up`.",
        )
    for name, workspace in parts.settings.workspaces.items():
        async for finding in _provider(parts, name, make_link=make_link and sound):
            yield finding
        if make_link and not sound:
            text = "none was made, because it could not enter the pool"
            yield Finding(f"links of {name}", "warning", text, "Mend Redis and database first.")
        yield _webhook(parts.settings, name, workspace)


async def _redis(parts: Parts) -> AsyncIterator[Finding]:
    try:
        await check_redis(redis_url(parts.settings))
        infos = await parts.store.infos()
    except SettingsError as error:
        yield Finding("redis", "failed", str(error), "Run `linkpool doctor --acl`.")
        return
    except StoreUnavailable as error:
        to_do = (
            "Is it running? See LINKPOOL_REDIS_URL."
            if error.connection_lost
            else "It answers and refuses: see its own log."
        )
        yield Finding("redis", "unreachable", str(error), to_do)
        return
    for info in infos:
        for finding in of_server(info, f" on port {info['tcp_port']}" if len(infos) > 1 else ""):
            yield finding
    async for finding in cluster(parts) if parts.store.is_cluster else replicas(parts, infos[0]):
        yield finding
    async for finding in set_aside(parts):
        yield finding


async def _workers(parts: Parts) -> AsyncIterator[Finding]:
    try:
        heartbeat = await parts.store.last_heartbeat_ms()
    except StoreError:
        return
    to_do = "Are `linkpool worker` and `linkpool beat` running, with the same LINKPOOL_BROKER_URL?"
    if heartbeat is None:
        yield Finding("worker", "failed", "no worker has swept yet", to_do)
        return
    age = time.time() - heartbeat / 1000
    limit = 3 * parts.settings.sweep_seconds + 5
    verdict: Verdict = "ok" if age <= limit else "failed"
    yield Finding(
        "worker",
        verdict,
        f"the last sweep was {max(0.0, age):.0f} s ago",
        "" if age <= limit else to_do,
    )


async def _provider(parts: Parts, name: str, *, make_link: bool) -> AsyncIterator[Finding]:
    what = f"provider {name}"
    provider = parts.providers[name]
    try:
        offered = {meeting.sid: meeting for meeting in await provider.meetings()}
    except ProviderError as error:
        yield Finding(what, "failed", str(error), "Check subdomain, API key and network.")
        return
    yield Finding(what, "ok", f"answers, and lists {len(offered)} meetings")
    async for finding in link_base(parts, name):
        yield finding
    offset = provider.clock_offset_seconds
    if offset is None:
        yield Finding(
            f"{what} clock",
            "warning",
            "the provider sends no Date header, so its clock cannot be compared",
        )
    elif abs(offset) > CLOCK_SECONDS:
        yield Finding(
            f"{what} clock",
            "warning",
            f"its clock and ours are {abs(offset):.0f} s apart",
            "Let this machine follow a time server.",
        )
    else:
        yield Finding(f"{what} clock", "ok", "agrees with ours")
    try:
        ours = [each for each in await parts.ledger.meetings.all() if each.workspace == name]
    except LedgerError:
        return
    for meeting in ours:
        there = offered.get(meeting.sid)
        if there is None or there.disabled:
            problem = "is disabled at the provider" if there else "is not listed by the provider"
            yield Finding(
                f"meeting {meeting.sid}", "warning", problem, "Check the SID, or enable it there."
            )
    if make_link and ours:
        yield await _make_one(parts, name, ours[0].sid)


async def _make_one(parts: Parts, workspace: str, sid: str) -> Finding:
    from pool.supply.pool_writer import make_and_pool

    what = f"links of {workspace}"
    try:
        outcome = await make_and_pool(parts.makers[workspace], parts.store, parts.ledger, sid)
    except ProviderError as error:
        return Finding(
            what, "failed", str(error), "Follow the provider's message; no link was pooled."
        )
    except LinkpoolError as error:
        return Finding(what, "warning", f"a link was made but not pooled: {error}")
    if outcome != "added":
        return Finding(what, "warning", f"a link was made but not pooled: {outcome}")
    return Finding(what, "ok", f"one was made for {sid}, is as documented, and entered the pool")


async def _notify(parts: Parts) -> Finding:
    if parts.notifier is None:
        return Finding(
            "notices", "failed", "no address is set to send them to", "Set LINKPOOL_NOTIFY_URL."
        )
    text = "this is a test; notices of trouble will arrive here"
    notice = Notice("test", "", False, text, round(time.time() * 1000))
    try:
        await parts.notifier.send(notice)
    except NotifyFailed as error:
        return Finding("notices", "failed", str(error), "Check LINKPOOL_NOTIFY_URL.")
    return Finding("notices", "ok", "the receiver accepted a test notice")


def _webhook(settings: Settings, name: str, workspace: Workspace) -> Finding:
    what = f"webhook {name}"
    if workspace.webhook_secret is None:
        return Finding(
            what,
            "warning",
            "no secret is set, so bookings are found late, by asking the provider",
            "Set LINKPOOL_NEETOCAL_WEBHOOK_SECRET to the secret of the webhook at the provider.",
        )
    body = b'{"event":"linkpool_doctor"}'
    secret = workspace.webhook_secret.get_secret_value().encode()
    signature = f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
    host = reachable(settings.host)
    connection = http.client.HTTPConnection(host, settings.port, timeout=5)
    try:
        connection.request("POST", f"/v1/webhooks/{name}", body, {SIGNATURE_HEADER: signature})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return Finding(
            what,
            "warning",
            f"the API does not answer at {host}:{settings.port} ({type(error).__name__})",
            "Start it; see LINKPOOL_HOST and LINKPOOL_PORT.",
        )
    finally:
        connection.close()
    if status == http.HTTPStatus.ACCEPTED:
        return Finding(what, "ok", "an event signed with our secret is accepted")
    return Finding(
        what,
        "failed",
        f"an event signed with our secret is answered {status}",
        "The API runs with another secret than this command: restart it with the same settings.",
    )


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    marks = {"ok": ("ok", "green"), "warning": ("warning", "yellow")}
    for finding in findings:
        word, style = marks.get(finding.verdict, ("FAILED", "bold red"))
        console.print(
            Text.assemble((f"{word:8}", style), (f"{finding.what}: ", "bold"), finding.text)
        )
        if finding.to_do:
            console.print(Text(f"        → {finding.to_do}"))
