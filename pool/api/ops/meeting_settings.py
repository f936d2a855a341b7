"""The settings of a meeting as operators read and change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pool.api.ops.forms import Form
from pool.api.routes.bodies import MeetingChange
from pool.errors import InvalidRequest
from pool.model.meetings import Meeting
from pool.operations.words import duration_words

URL_MAX_CHARACTERS = 2_048


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: what it is called, and what it means for visitors and stock."""

    name: str
    label: str
    meaning: str
    unit: str = ""  # of a number
    choices: tuple[tuple[str, str], ...] = ()
    field: str = ""  # of Meeting, where it has another name

    @property
    def attribute(self) -> str:
        """The field of Meeting that holds it."""
        return self.field or self.name


SETTINGS = (
    Setting("min_fresh", "At least", "The pool is never meant to hold fewer.", "links"),
    Setting("max_fresh", "At most", "And never more, however many are claimed.", "links"),
    Setting(
        "cover_seconds",
        "Cover",
        "The stock should last this long at the present claim rate.",
        "seconds",
    ),
    Setting(
        "target",
        "Target",
        "What the stock is measured by, between at least and at most.",
        choices=(("fixed", "the present claim rate"), ("auto", "the forecast")),
        field="target_mode",
    ),
    Setting(
        "claim_ttl_seconds", "Claims lapse after", "A claim that nobody books ends then.", "seconds"
    ),
    Setting(
        "max_fresh_age_seconds",
        "Links retire after",
        "Fresh links that are older are taken out of the pool.",
        "seconds",
    ),
    Setting(
        "after_booking",
        "After a booking",
        "What a customer who has booked gets on the next claim.",
        choices=(("same", "the same link"), ("new", "a new link")),
    ),
    Setting(
        "on_empty",
        "When empty",
        "What a visitor gets while the pool has no link.",
        choices=(("direct", "a link made on the spot"), ("fail", "pool-empty at once")),
    ),
    Setting(
        "fallback_url",
        "Fallback",
        "Offered to visitors when there is no link for them. Empty for none.",
    ),
    Setting(
        "match_email",
        "Match by e-mail",
        "Whether a booking that names no link may go to the one claim with its e-mail.",
        choices=(("true", "where nothing else tells"), ("false", "never")),
    ),
)


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting of one meeting: its value as the form takes it, and in words."""

    setting: Setting
    value: str
    words: str


def shown(meeting: Meeting) -> list[ShownSetting]:
    """The settings of this meeting, in the order of the form."""
    return [_shown(setting, getattr(meeting, setting.attribute)) for setting in SETTINGS]


def _shown(setting: Setting, value: Any) -> ShownSetting:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if setting.choices:
        return ShownSetting(setting, value, dict(setting.choices)[value])
    if value is None:
        return ShownSetting(setting, "", "none")
    if setting.unit == "seconds":
        return ShownSetting(setting, str(value), duration_words(value))
    words = f"{value:,} {setting.unit}" if setting.unit else str(value)
    return ShownSetting(setting, str(value), words)


def changes_of(form: Form, meeting: Meeting) -> dict[str, Any]:
    """What the form changes. Raises InvalidRequest; whether values go together is for others."""
    given: dict[str, Any] = {}
    for setting in SETTINGS:
        if setting.name not in form.fields:
            continue
        text = form.text(setting.name, label=setting.label, max_characters=URL_MAX_CHARACTERS)
        given[setting.name] = _value(setting, text)
    try:
        wanted = MeetingChange.model_validate(given).changes()
    except ValidationError as error:
        raise InvalidRequest(
            "the settings are not as they should be",
            [f"{_label(each['loc'])}: {each['msg']}" for each in error.errors()],
        ) from None
    return {name: value for name, value in wanted.items() if value != getattr(meeting, name)}


def _value(setting: Setting, text: str) -> Any:
    if setting.name == "match_email" and text in ("true", "false"):
        return text == "true"
    if not setting.unit:
        return text or None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise InvalidRequest(f"{setting.label}: write a whole number of {setting.unit}")
    return int(text)


def _label(place: tuple[int | str, ...]) -> str:
    return next((each.label for each in SETTINGS if place and each.name == place[0]), "form")
