"""Say which settings were changed, and by whom else since a page was opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pool.api.ops.actions.settings_form import SETTINGS, SHOWN, shown, shown_as, touched
from pool.api.ops.session.forms import Form
from pool.errors import InvalidRequest
from pool.model.meetings import Meeting


def check_nobody_else_changed(form: Form, meeting: Meeting) -> None:
    """Raise InvalidRequest for each setting that both this form and somebody else has changed."""
    changed = touched(form).fields
    errors = [
        f"{each.setting.label}: somebody changed it to {each.words} since you opened this page; "
        "save again if yours is to count"
        for each in shown(meeting)
        if each.setting.name in changed
        and form.fields.get(SHOWN + each.setting.name, each.value) != each.value
        and changed[each.setting.name] != each.value
    ]
    if errors:
        raise InvalidRequest("settings were changed meanwhile", errors)


def labels_of(names: Iterable[str]) -> str:
    """Return the labels of settings, as the form shows them."""
    labels = {setting.attribute: setting.label for setting in SETTINGS}
    return ", ".join(sorted(labels.get(name, name) for name in names))


def changes_in_words(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """Return each setting that differs: its label, and both values as the form shows them."""
    return [
        (
            setting.label,
            shown_as(setting, before[setting.attribute]).words,
            shown_as(setting, after[setting.attribute]).words,
        )
        for setting in SETTINGS
        if setting.attribute in after
        and setting.attribute in before
        and before[setting.attribute] != after[setting.attribute]
    ]
