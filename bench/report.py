"""Write the results as Markdown and JSON."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.measures.catalogue import MEASURES
from bench.options import Options
from bench.rows import Row
from pool.up.redis_server import find_redis_server

Results = dict[str, list[Row]]


def write(results: Results, missing: list[str], options: Options) -> list[Path]:
    """Write results.md and results.json. Return their paths."""
    options.out.mkdir(parents=True, exist_ok=True)
    about = surroundings()
    as_json = {
        "about": about,
        "missing": missing,
        "quick": options.quick,
        "measures": {
            name: {
                "title": MEASURES[name].title,
                "command": options.command(name),
                "rows": [row.as_json() for row in rows],
            }
            for name, rows in results.items()
        },
    }
    json_path, markdown_path = options.out / "results.json", options.out / "results.md"
    json_path.write_text(json.dumps(as_json, indent=2, ensure_ascii=False) + "\n", "utf-8")
    markdown_path.write_text(_markdown(results, missing, options, about), "utf-8")
    return [markdown_path, json_path]


def surroundings() -> dict[str, Any]:
    """Return what the numbers depend on."""
    load = os.getloadavg()
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "linkpool": version("linkpool"),
        "commit": _said(["git", "describe", "--always", "--dirty"]) or "unknown",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "redis": _version(_said([str(find_redis_server()), "--version"])),
        "redis_py": version("redis"),
        "uvicorn": version("uvicorn"),
        "fastapi": version("fastapi"),
        "wrk": _version(_said(["wrk", "-v"])) if shutil.which("wrk") else None,
        "load_at_the_end": [round(each, 2) for each in load],
    }


def _markdown(results: Results, missing: list[str], options: Options, about: dict[str, Any]) -> str:
    lines = ["# Benchmark results", ""]
    if options.quick:
        lines += ["**A quick run: it shows that the program works, its numbers mean nothing.**", ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in about.items()]
    lines += [
        "",
        "Load generator, Redis and servers share the cores. Contestants take turns, run by run; "
        "a ratio is taken within a run. Values are medians, with the lowest and the highest.",
        "",
    ]
    if missing:
        lines += ["Left out:", "", *(f"- {each}" for each in missing), ""]
    for name, rows in results.items():
        lines += [f"## {MEASURES[name].title}", "", f"`{options.command(name)}`", ""]
        lines += ["| figure | median | min to max | unit | goal |", "|---|---:|---:|---|---|"]
        for row in rows:
            goal = ""
            if row.goal:
                goal = f"{row.goal} {'✓' if row.goal.met(row.median) else '✗'}"
            note = f"<br>{row.note}" if row.note else ""
            spread = f"{_number(min(row.values))} to {_number(max(row.values))}"
            lines.append(
                f"| {row.title}{note} | {_number(row.median)} | {spread} | {row.unit} | {goal} |"
            )
        lines.append("")
    return "\n".join(lines)


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - names written here
            command, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout or done.stderr).strip()


def _version(text: str) -> str:
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found[0] if found else "unknown"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown"
