"""Find accessibility faults of a page with axe."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_GRAVE = ("serious", "critical")


def grave_findings(page: Page) -> list[str]:
    """Return axe's findings that shut somebody out, each with its place on the page."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['help']} ({', '.join(str(node['target']) for node in each['nodes'])})"
        for each in violations
        if each["impact"] in _GRAVE
    ]
