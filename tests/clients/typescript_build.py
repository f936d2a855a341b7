"""Install and compile the TypeScript client outside of the source tree."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.debian import debian

SOURCE = Path(__file__).parents[2] / "clients" / "typescript"
EXAMPLES = re.findall(r"```ts\n(.*?)```", (SOURCE / "README.md").read_text("utf-8"), re.DOTALL)
ROUTE = SOURCE.parents[1] / "docs" / "examples" / "nextjs" / "app" / "booking" / "route.ts"
_built: set[Path] = set()  # by this process, which two examples and the client's own tests ask
COPIED = ("package.json", "package-lock.json", "tsconfig.json", "openapi.json", "src", "test")


def build(cache: pytest.Cache) -> Path:
    """Return a folder with the compiled client and its README's examples, as `readme-0.js` …,
    and the route handler of the Next.js example.

    Packages are kept there from run to run.
    """
    debian("node")
    lock = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]
    # Files of tests that run beside each other would take the build away under the other's feet.
    place = cache.mkdir(f"typescript-{lock}-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}")
    if place in _built:
        return place
    for name in ("build", *COPIED):
        kept = place / name
        shutil.rmtree(kept) if kept.is_dir() else kept.unlink(missing_ok=True)
    for name in COPIED:
        source = SOURCE / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, place / name)
    if not (place / "node_modules" / ".package-lock.json").exists():
        run([debian("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], place)
    route = ROUTE.read_text("utf-8")
    shown = {f"readme-{number}": example for number, example in enumerate(EXAMPLES)}
    for name, example in {**shown, "nextjs-route": route}.items():
        source = place / "test" / f"{name}.ts"
        source.write_text(example.replace('"linkpool-client"', '"../src/index.js"'), "utf-8")
    tsc(place)
    _built.add(place)
    return place


def tsc(place: Path, *words: str) -> None:
    """Compile the folder. Fail with the compiler's output."""
    run([debian("node"), "node_modules/typescript/bin/tsc", *words], place)


def run(
    command: list[str], place: Path, environ: dict[str, str] | None = None, seconds: float = 120
) -> str:
    """Return the output of a command. Fail with all of it if the command fails."""
    done = subprocess.run(
        command, cwd=place, env=environ, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
