"""Draw the results: ratios against each peer, and latency by connections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.rows import TIMES, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Results = dict[str, list[Row]]

_PEERS = {
    "webdis": "webdis (C)",
    "obvious": "FastAPI + redis-py",
    "noop": "a no-op ASGI app",
    "sql": "FastAPI + PostgreSQL",
}
_COLOURS = {
    "linkpool-2": "#1f6feb",
    "linkpool-1": "#79b8ff",
    "webdis": "#d4652f",
    "obvious-2": "#6e7781",
    "noop-2": "#bbbbbb",
    "sql-2": "#8250df",
}
_LABELS = {
    "linkpool-2": "linkpool, 2 workers",
    "linkpool-1": "linkpool, 1 worker",
    "webdis": "webdis (C), same script",
    "obvious-2": "FastAPI + redis-py, 2 workers",
    "noop-2": "no-op ASGI app, 2 workers",
    "sql-2": "FastAPI + PostgreSQL, 2 workers",
}


class NoPlot(Exception):
    """There is nothing to draw, or nothing to draw with."""


def draw(results: Results, out: Path, *, quick: bool) -> list[Path]:
    """Write results.svg and results.png. Return their paths. Raise NoPlot."""
    ratios = _ratios(results.get("claims", []))
    latencies = _latencies(results.get("latency", []))
    panels = [panel for panel in (ratios, latencies) if panel]
    if not panels:
        raise NoPlot("neither claims nor latency was measured")
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise NoPlot("matplotlib is not installed: pip install 'linkpool[bench]'") from None
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    figure, grid = pyplot.subplots(1, len(panels), figsize=(7.5 * len(panels), 5.2), squeeze=False)
    axes: list[Any] = list(grid[0])
    if ratios:
        _draw_ratios(axes.pop(0), ratios)
    if latencies:
        _draw_latencies(axes.pop(0), latencies)
    if quick:
        figure.suptitle("a quick run: these numbers mean nothing", color="#cc0000")
    figure.tight_layout()
    paths = [out / "results.svg", out / "results.png"]
    for path in paths:
        figure.savefig(path, dpi=160)
    pyplot.close(figure)
    return paths


def _ratios(rows: list[Row]) -> list[tuple[str, int, Row]]:
    found = []
    for row in rows:
        parts = row.name.split(".")
        if parts[:2] != ["ratio", "rate"]:
            continue
        peer = parts[3].rstrip("-12")
        if peer in _PEERS:
            found.append((_PEERS[peer], int(parts[2].rpartition("-")[2]), row))
    return found


def _draw_ratios(axes: Axes, ratios: list[tuple[str, int, Row]]) -> None:
    peers = list(dict.fromkeys(peer for peer, _, _ in ratios))
    for peer, workers, row in ratios:
        at = peers.index(peer) + (0.2 if workers == 1 else -0.2)
        low, high = row.median - min(row.values), max(row.values) - row.median
        axes.barh(
            at,
            row.median - 1,
            0.36,
            left=1,  # a log scale has no zero for bars to stand on
            xerr=[[low], [high]],
            color=_COLOURS[f"linkpool-{workers}"],
            ecolor="#333333",
            capsize=3,
        )
        axes.text(max(1.0, *row.values) * 1.04, at, f"{row.median:.2f}{TIMES}", va="center")
    axes.axvline(1, color="#333333", linewidth=1)
    axes.set_xscale("log")
    every = [value for _, _, row in ratios for value in row.values]
    axes.set_xlim(min(0.4, min(every) * 0.8), max(2.0, max(every) * 2))
    ticks = [tick for tick in (0.25, 0.5, 1, 2, 5, 10, 20, 50) if tick < max(every) * 2]
    axes.set_xticks(ticks, [f"{tick:g}{TIMES}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(peers)), [f"against\n{peer}" for peer in peers])
    axes.invert_yaxis()
    axes.set_xlabel("linkpool's claims/s over the peer's (64 connections, log scale)")
    axes.set_title("Rate (dark: 2 workers, light: 1)", loc="left")


def _latencies(rows: list[Row]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        what, _, rest = row.name.partition(".")
        if what in ("p50", "p99"):
            name, _, connections = rest.rpartition(".")
            found.setdefault(name, {}).setdefault(what, []).append((int(connections), row.median))
    return found


def _draw_latencies(axes: Axes, latencies: dict[str, dict[str, list[tuple[int, float]]]]) -> None:
    ticks: set[int] = set()
    for name, lines in latencies.items():
        for what, points in lines.items():
            points.sort()
            ticks |= {connections for connections, _ in points}
            axes.plot(
                [connections for connections, _ in points],
                [milliseconds for _, milliseconds in points],
                color=_COLOURS.get(name, "#000000"),
                linestyle="-" if what == "p50" else "--",
                marker="o",
                markersize=4,
                label=_LABELS.get(name, name) if what == "p50" else None,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted(ticks), [str(each) for each in sorted(ticks)])
    axes.minorticks_off()
    axes.set_xlabel("connections")
    axes.set_ylabel("milliseconds (log scale)")
    axes.set_title("Latency (solid: p50, dashed: p99)", loc="left")
    axes.legend(frameon=False, fontsize=9)
