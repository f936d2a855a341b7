"""Test the alert rules, their tests, the dashboard, and the page with the instructions."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pool.api.routes import exposition
from pool.model.incidents import What
from pool.operations.incident_words import TITLES
from pool.telemetry.metrics import BeatMetrics, Metrics
from tests.debian import debian

ROOT = Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DIRECTORY / "linkpool.rules.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
DOCS = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
DASHBOARD = (ROOT / "deploy" / "grafana" / "linkpool.json").read_text("utf-8")


def known_metrics() -> set[str]:
    """Return every name that /metrics may have."""
    registries = (Metrics().registry, BeatMetrics().registry)
    counted = {family.name for registry in registries for family in registry.collect()}
    gauges = {family.name for family in exposition._Families().all()}
    suffixes = ("", "_total", "_bucket", "_sum", "_count")
    return {name + suffix for name in counted | gauges for suffix in suffixes}


@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "linkpool.rules.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "linkpool.tests.yml"),
    ],
    ids=" ".join,
)
def test_promtool_is_content(words: tuple[str, ...]) -> None:
    """The files are well-formed, and each alert fires when it should and not when it should not."""
    done = subprocess.run(
        [debian("promtool"), *words], cwd=DIRECTORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_to_do(name: str) -> None:
    """A severity, a summary, a first thing to do, and a section of its own; and it has a test."""
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"].split()) > 8
    assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{name.lower()}"
    assert f"\n### {name}\n" in DOCS
    assert f'alertname="{name}"' in (DIRECTORY / "linkpool.tests.yml").read_text("utf-8")


def test_alerts_speak_as_the_page_does() -> None:
    """The same words for the same thing, at 3 a.m. as well: no "swept", no "set aside"."""
    said = {
        name: " ".join(rule["annotations"][each] for each in ("summary", "description"))
        for name, rule in ALERTS.items()
    }
    assert TITLES[What.FENCE] in said["LinkpoolFenceFell"]
    assert "No worker" in said["LinkpoolWorkerStuck"]
    assert "out of links" in said["LinkpoolRunwayLow"]
    assert "turned away" in said["LinkpoolClaimsRefused"]
    assert "quarantined" in said["LinkpoolLinksQuarantined"]
    old = re.compile("swept|set aside|runs dry|not serving|fence|belong to no link|[Ll]ook at|told")
    assert {name: found for name, text in said.items() if (found := old.findall(text))} == {}


@pytest.mark.parametrize("text", [*(rule["expr"] for rule in RULES), DASHBOARD, DOCS])
def test_all_metrics_that_are_named_exist(text: str) -> None:
    """That holds for rules, dashboard and documentation."""
    named = set(re.findall(r"\blinkpool_[a-z_]+\b", text)) - {"linkpool_metrics_key"}
    assert named <= known_metrics()


def test_the_dashboard_is_whole() -> None:
    """Panels have their own ids and do not overlap; each says what its numbers mean."""
    panels = json.loads(DASHBOARD)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
