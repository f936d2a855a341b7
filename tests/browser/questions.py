"""Answer the five questions of an incident from the page alone, and count the clicks.

The operator was woken up and has nothing but the overview. An answer is a text on the page, read as
a person reads it; it must be in sight without scrolling far.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from playwright.sync_api import Page, expect

QUESTIONS = (
    "Which pool?",
    "Since when?",
    "How many visitors were turned away?",
    "What is being done?",
    "What must I do?",
)
MOST_CLICKS = 2


@dataclass(frozen=True)
class Answer:
    """Words that answer a question, and the clicks and seconds that led to them."""

    text: str
    clicks: int
    seconds: float  # since the overview was opened


@dataclass
class Operator:
    """A person who looks at one incident."""

    page: Page
    overview: str  # its address
    answers: list[Answer] = field(default_factory=list)  # in the order of QUESTIONS
    clicks: int = 0
    began: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Open the overview, which costs no click."""
        self.began = time.monotonic()
        self.page.goto(self.overview)
        self.page.locator("#live.on").wait_for()

    def read(self, place: str, words: str = "") -> str:
        """Answer the next question with the text that stands there."""
        found = self.page.locator(place).filter(has_text=words).first
        expect(found).to_be_visible()
        text = " ".join(found.inner_text().split())
        assert text, f"{place} says nothing"
        self.answers.append(Answer(text, self.clicks, time.monotonic() - self.began))
        return text

    def click(self, place: str) -> None:
        """Follow a link."""
        self.page.locator(place).first.click()
        self.clicks += 1
        self.page.locator("#live.on").wait_for()


def about_a_dry_pool(operator: Operator, sid: str) -> None:
    """Answer the questions about one pool that ran out of links."""
    operator.begin()
    operator.read("#rows tr:first-child th", sid)
    operator.read("#incidents li.stands", sid)
    row = f'#rows tr[data-sid="{sid}"]'
    operator.read(f"{row} .away:has(strong)")
    operator.click(f"{row} th a")
    operator.read(".explained div", "What linkpool does")
    operator.read(".explained div", "What you can do")


def about_a_silent_part(operator: Operator, says: str) -> None:
    """Answer the questions about a part that does not answer, without a click."""
    operator.begin()
    line = f"#banner .silent:has-text('{says}')"
    operator.read(f"{line} .whom")
    operator.read(f"{line} .since")
    operator.read(f"{line} .away")
    operator.read(f"{line} .linkpool")
    operator.read(f"{line} .you")
