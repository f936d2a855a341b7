"""Draw the rooms and the imports between them, as they are: `make picture`.

A room is a folder of `pool/`, or a module that stands beside them. An arrow that follows from
two others is left out. `docs/architecture.dot` is this program's output, which a test checks;
Graphviz makes the picture from it.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
DOT = ROOT / "docs" / "architecture.dot"
SVG = ROOT / "docs" / "pictures" / "architecture.svg"
OUTSIDE = {
    "pool.store": "Redis",
    "pool.ledger": "SQLite or PostgreSQL",
    "pool.providers": "NeetoCal",
}

Arrows = set[tuple[str, str]]


def layers() -> list[list[str]]:
    """Return the layers of the import rules, the uppermost first, each as its rooms."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    [contract] = [each for each in rules["contracts"] if each["name"] == "Imports point one way"]
    return [layer.split(" | ") for layer in contract["layers"]]


def arrows() -> Arrows:
    """Return which room imports from which, read from the code."""
    rooms = {room for layer in layers() for room in layer}
    graph = grimp.build_graph("pool", "worker")
    found: Arrows = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = _room(module, rooms), _room(imported, rooms)
            if pair[0] and pair[1] and pair[0] != pair[1]:
                found.add((pair[0], pair[1]))
    return found


def _room(module: str, rooms: set[str]) -> str:
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (name := ".".join(parts[:length])) in rooms:
            return name
    return ""


def reduced(all_arrows: Arrows) -> Arrows:
    """Return the arrows without those that follow from two or more others."""
    below: dict[str, set[str]] = {}

    def reach(room: str) -> set[str]:
        if room not in below:
            direct = {to for start, to in all_arrows if start == room}
            below[room] = direct.union(*(reach(to) for to in direct)) if direct else set()
        return below[room]

    return {
        (start, to)
        for start, to in all_arrows
        if not any(to in reach(via) for origin, via in all_arrows if origin == start and via != to)
    }


def draw() -> str:
    """Return the picture in Graphviz's language."""
    lines = [
        "// Written by `make picture` from the imports of the code; do not edit.",
        "digraph linkpool {",
        '  graph [rankdir=TB, ranksep=0.35, nodesep=0.3, fontname="sans-serif", bgcolor=white];',
        '  node [shape=box, style="rounded,filled", fillcolor="#eef3fb", color="#4a6da7",'
        ' fontname="sans-serif", fontsize=12];',
        '  edge [color="#7a8699", arrowsize=0.6];',
    ]
    for layer in layers():
        names = " ".join(f'"{room}";' for room in layer)
        lines.append(f"  {{ rank=same; {names} }}")
    rooms = sorted({room for layer in layers() for room in layer})
    lines += [f'  "{room}" [label="{room.removeprefix("pool.")}"];' for room in rooms]
    lines += [f'  "{start}" -> "{to}";' for start, to in sorted(reduced(arrows()))]
    for room, outside in OUTSIDE.items():
        lines.append(f'  "{outside}" [shape=cylinder, fillcolor="#fdf3e1", color="#b7791f"];')
        lines.append(f'  "{room}" -> "{outside}" [style=dashed];')
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    sys.stdout.write(draw())
