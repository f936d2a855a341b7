"""Check all that linkpool depends on, and say what to do where it fails: `linkpool doctor`."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from pool.cli.common import DONE, FAILED, NOT_REACHABLE, AsJson, DataDir, run, settings_for
from pool.cli.doctor_broker import broker, mend
from pool.cli.doctor_ledger import ledger
from pool.cli.doctor_provider import from_outside, provider
from pool.cli.doctor_provider import webhook as webhook_here
from pool.cli.doctor_redis import cluster, of_server, replicas, set_aside
from pool.cli.findings import Finding, Verdict, failed, ok, unreachable, warning
from pool.cli.printing import print_json
from pool.compose import Parts, compose
from pool.config.addresses import redis_url
from pool.config.proxy_warnings import proxy_warnings
from pool.errors import NotifyFailed, SettingsError, StoreError, StoreUnavailable
from pool.model.troubles import Notice
from pool.store.capabilities import acl as acl_rules
from pool.store.capabilities import check_redis


def doctor(
    make_link: Annotated[
        bool, typer.Option(help="Also make one link, check the answer, and add it to the pool.")
    ] = False,
    notify: Annotated[
        bool, typer.Option("--notify", help="Also send a test notice to LINKPOOL_NOTIFY_URL.")
    ] = False,
    webhook: Annotated[
        bool,
        typer.Option(
            "--webhook",
            help="Also send a signed test event to each webhook address at LINKPOOL_PUBLIC_URL.",
        ),
    ] = False,
    acl: Annotated[
        bool, typer.Option("--acl", help="Only print the ACL rules that linkpool needs in Redis.")
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
        findings = [ok("settings", f"data in {settings.data_dir.absolute()}")]
        findings += [
            warning("proxies", text, "Set LINKPOOL_TRUSTED_PROXIES.")
            for text in proxy_warnings(settings)
        ]
        async with compose(settings) as parts:
            findings += [finding async for finding in examine(parts, make_link=make_link)]
            if webhook:
                findings += [await from_outside(settings, name) for name in settings.workspaces]
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
    yield await broker(parts.settings)
    async for finding in ledger(parts):
        sound = sound and finding.verdict in ("ok", "warning")
        yield finding
    async for finding in _workers(parts):
        yield finding
    if not parts.settings.workspaces:
        yield failed(
            "provider",
            "no workspace is configured",
            "Set LINKPOOL_NEETOCAL_SUBDOMAIN and LINKPOOL_NEETOCAL_API_KEY, or use `linkpool up`.",
        )
    for name, workspace in parts.settings.workspaces.items():
        async for finding in provider(parts, name, make_link=make_link and sound):
            yield finding
        if make_link and not sound:
            text = "no link was made, because it could not be added to the pool"
            yield warning(f"links of {name}", text, "Fix Redis and the database first.")
        yield webhook_here(parts.settings, name, workspace)


async def _redis(parts: Parts) -> AsyncIterator[Finding]:
    try:
        await check_redis(redis_url(parts.settings))
        infos = await parts.store.infos()
    except SettingsError as error:
        yield failed("redis", str(error), mend(error))
        return
    except StoreUnavailable as error:
        refused = not error.connection_lost
        yield unreachable("redis", str(error), "LINKPOOL_REDIS_URL", answers=refused)
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
        yield failed("worker", "no worker has run yet", to_do)
        return
    age = time.time() - heartbeat / 1000
    limit = 3 * parts.settings.sweep_seconds + 5
    verdict: Verdict = "ok" if age <= limit else "failed"
    yield Finding(
        "worker",
        verdict,
        f"a worker last ran {max(0.0, age):.0f} s ago",
        "" if age <= limit else to_do,
    )


async def _notify(parts: Parts) -> Finding:
    if parts.notifier is None:
        return failed("notices", "no address is set to send them to", "Set LINKPOOL_NOTIFY_URL.")
    text = "this is a test; notices of trouble will arrive here"
    notice = Notice("test", "", False, text, round(time.time() * 1000))
    try:
        await parts.notifier.send(notice)
    except NotifyFailed as error:
        return failed("notices", str(error), "Check LINKPOOL_NOTIFY_URL.")
    return ok("notices", "the receiver accepted a test notice")


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
