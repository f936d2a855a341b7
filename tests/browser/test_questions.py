"""Test that an operator answers the five questions of an incident from the page alone."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.faults import frozen
from tests.browser.questions import (
    MOST_CLICKS,
    QUESTIONS,
    Operator,
    about_a_dry_pool,
    about_a_silent_part,
)
from tests.browser.tab import WAIT_MS, Tab

expect.set_options(timeout=WAIT_MS)


def test_a_dry_pool_is_explained_within_two_clicks(tab: Tab) -> None:
    """The page answers all five questions about it."""
    product, sid = tab.product, "a-crowd"
    product.put(sid, min_fresh=1, max_fresh=1, cover_seconds=0, on_empty="fail")
    operator = Operator(tab.sign_in(), f"{product.url}/ops")
    try:
        with product.turned(fail_status=422, fail_meeting=sid):
            for number in range(4):
                product.claim(sid, f"crowd-{number}")
            about_a_dry_pool(operator, sid)
    finally:
        product.api("POST", f"/v1/meetings/{sid}/pause", json={})
    answers = dict(zip(QUESTIONS, operator.answers, strict=True))
    assert max(each.clicks for each in operator.answers) <= MOST_CLICKS
    assert sid in answers["Which pool?"].text
    assert answers["How many visitors were turned away?"].text.startswith("3 ")
    assert "asks the provider again" in answers["What is being done?"].text


def test_a_silent_part_is_explained_without_a_click(tab: Tab) -> None:
    """The line at the top of every view has all five answers."""
    operator = Operator(tab.sign_in(), f"{tab.product.url}/ops/keys")
    with frozen(tab.product, "worker"):
        about_a_silent_part(operator, "No worker is running")
    pools, _, visitors, _, advice = (each.text for each in operator.answers)
    assert pools == "Concerns all pools"
    assert "Nobody was turned away since" in visitors
    assert "linkpool worker" in advice
    assert all(each.clicks == 0 for each in operator.answers)
