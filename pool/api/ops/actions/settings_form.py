"""Show the settings of a meeting, and read changes from a form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from pool.api.ops.session.forms import Form
from pool.api.routes.bodies import MeetingChange
from pool.errors import InvalidRequest
from pool.model.durations import EXAMPLES, exact_words, seconds_of
from pool.model.meeting_rules import check_meeting
from pool.model.meetings import Meeting

URL_MAX_CHARACTERS = 2_048
SHOWN = "was-"  # before the name of a field, for the value that the page showed


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name, and what it means for visitors and stock."""

    name: str
    label: str
    meaning: str
    unit: str = ""  # of a number
    choices: tuple[tuple[str, str], ...] = ()
    field: str = ""  # of Meeting, where it has another name

    @property
    def attribute(self) -> str:
        """Return the name of the field of Meeting."""
        return self.field or self.name


SETTINGS = (
    Setting("min_fresh", "Minimum", "Minimum links kept ready.", "links"),
    Setting("max_fresh", "Maximum", "Maximum links kept ready, at any claim rate.", "links"),
    Setting(
        "cover_seconds",
        "Cover",
        "The stock should last this long at the present claim rate.",
        "seconds",
    ),
    Setting(
        "target",
        "Target",
        "How many links to keep ready, between minimum and maximum.",
        choices=(("fixed", "by the present claim rate"), ("auto", "by the forecast")),
        field="target_mode",
    ),
    Setting(
        "claim_ttl_seconds",
        "Claims lapse after",
        "A claim without a booking ends after this time.",
        "seconds",
    ),
    Setting(
        "max_fresh_age_seconds",
        "Links retire after",
        "Older fresh links are taken out of the pool.",
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
        "What a visitor gets while the pool is empty.",
        choices=(("direct", "a link made on the spot"), ("fail", "the error pool-empty at once")),
    ),
    Setting(
        "fallback_url",
        "Fallback",
        "The address offered to visitors who get no link. Leave empty for none.",
    ),
    Setting(
        "match_email",
        "Match by e-mail",
        "Whether a booking without a link may be matched to the only claim with its e-mail.",
        choices=(("true", "if nothing else identifies the link"), ("false", "never")),
    ),
    Setting(
        "reserve",
        "Reserve",
        "Fresh links that claims with a public key leave to all others.",
        "links",
    ),
    Setting(
        "shards",
        "Shards",
        "Pools over which customers are spread, so that several Redis masters serve them. "
        "Changing it stops claims for some seconds and makes the stock anew.",
        "pools",
    ),
)


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting of one meeting: its value as in the form, and in words."""

    setting: Setting
    value: str
    words: str


def shown(meeting: Meeting) -> list[ShownSetting]:
    """Return the settings of this meeting, in the order of the form."""
    return [shown_as(setting, getattr(meeting, setting.attribute)) for setting in SETTINGS]


def shown_as(setting: Setting, value: Any) -> ShownSetting:
    """Return a value of a setting as the form and the page show it."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    if setting.choices:
        return ShownSetting(setting, value, dict(setting.choices)[value])
    if value is None:
        return ShownSetting(setting, "", "none")
    if setting.unit == "seconds":
        return ShownSetting(setting, exact_words(value), exact_words(value))
    unit = setting.unit.removesuffix("s") if value == 1 else setting.unit
    words = f"{value:,} {unit}" if unit else str(value)
    return ShownSetting(setting, str(value), words)


def touched(form: Form) -> Form:
    """Return the form without the values that nobody changed since the page showed them.

    Each value stands beside the one that was shown, `was-…`. Without this, a page that was opened
    long ago would take back what others have changed since.
    """
    fields = form.fields
    kept = {
        name: value
        for name, value in fields.items()
        if not name.startswith(SHOWN) and fields.get(SHOWN + name) != value
    }
    return Form(kept, form.pairs)


def changes_of(form: Form, meeting: Meeting) -> dict[str, Any]:
    """Return the settings that the form changes. Raise InvalidRequest for all invalid values.

    Whether the values contradict each other is checked by `check_meeting`.
    """
    form = touched(form)
    given: dict[str, Any] = {}
    errors: list[str] = []
    for setting in SETTINGS:
        if setting.name not in form.fields:
            continue
        try:
            text = form.text(setting.name, label=setting.label, max_characters=URL_MAX_CHARACTERS)
            given[setting.name] = _value(setting, text)
        except InvalidRequest as error:
            errors += error.errors
    wanted: dict[str, Any] = {}
    try:
        wanted = MeetingChange.model_validate(given).changes()
    except ValidationError as error:
        errors += [_words(each) for each in error.errors()]
    if errors:
        raise InvalidRequest("invalid settings", errors)
    return {name: value for name, value in wanted.items() if value != getattr(meeting, name)}


def preview(form: Form, meeting: Meeting) -> Meeting:
    """Return the meeting as the form would make it, leaving out what is not valid yet."""
    for setting in SETTINGS:
        if setting.name in form.fields:
            one = Form({setting.name: form.fields[setting.name]})
            try:
                meeting = replace(meeting, **changes_of(one, meeting))
            except InvalidRequest:
                continue
    return meeting


def problems_of(form: Form, meeting: Meeting) -> dict[str, str]:
    """Return what is wrong with a form that was refused, by the name of the field."""
    problems: tuple[str, ...] = ()
    try:
        check_meeting(replace(meeting, **changes_of(form, meeting)))
    except InvalidRequest as error:
        problems = error.errors
    found = {"reason": "Fill this in."} if not form.fields.get("reason", "").strip() else {}
    for each in problems:
        prefix, _, words = each.partition(": ")
        for setting in SETTINGS:
            if prefix in (setting.label, setting.name):
                found[setting.name] = _sentence(words)
    return found


def _sentence(words: str) -> str:
    for setting in SETTINGS:  # a person reads labels, not names
        words = words.replace(f"{setting.name} (", f"the {setting.label.lower()} (")
    return f"{words[:1].upper()}{words[1:]}."


def _value(setting: Setting, text: str) -> Any:
    if setting.name == "match_email" and text in ("true", "false"):
        return text == "true"
    if not setting.unit:
        return text or None
    if setting.unit == "seconds":
        if not text:
            raise InvalidRequest(f"{setting.label}: enter a length of time, such as {EXAMPLES}")
        try:
            return seconds_of(text)
        except InvalidRequest as error:
            raise InvalidRequest(f"{setting.label}: {error}") from None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise InvalidRequest(f"{setting.label}: enter a whole number of {setting.unit}")
    return int(text)


_BOUNDS = {"less_than_equal": ("le", "at most"), "greater_than_equal": ("ge", "at least")}


def _words(error: Any) -> str:
    """Return what pydantic found, as a person would say it."""
    setting = next((each for each in SETTINGS if error["loc"][:1] == (each.name,)), None)
    if setting is None:
        return f"form: {error['msg']}"
    if error["type"] in _BOUNDS:
        name, word = _BOUNDS[error["type"]]
        bound = error["ctx"][name]
        words = exact_words(bound) if setting.unit == "seconds" else f"{bound:,} {setting.unit}"
        return f"{setting.label}: {word} {words}"
    if error["type"] == "literal_error":
        return f"{setting.label}: choose one of the answers offered"
    return f"{setting.label}: {error['msg']}"
