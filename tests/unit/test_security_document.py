"""Test that SECURITY.md names tests that exist, and is found from the README."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")


def test_each_row_of_the_threat_model_names_tests_that_exist() -> None:
    """Every defence is held by a test file that exists, with tests in it."""
    table = TEXT.partition("## Threat model")[2].partition("\n\nNot stopped")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 10
    for row in rows:
        named = re.findall(r"`(tests/[\w/.]+)`", row.split("|")[-2])
        assert named, row
        for name in named:
            assert re.search(r"def |import ", (ROOT / name).read_text("utf-8")), name


def test_links_lead_somewhere() -> None:
    """The README leads to it, and it to files that exist."""
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text("utf-8")
    for link in re.findall(r"\]\(([^):]+)\)", TEXT):
        assert (ROOT / link).exists(), link
