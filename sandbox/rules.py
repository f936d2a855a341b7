"""Read and change, for one meeting, the knobs that name meetings."""

from __future__ import annotations

from typing import Any, cast

from sandbox.knob_checks import listed, mapped
from sandbox.knobs import Knobs
from sandbox.records import MeetingKind


class MeetingRules:
    """Answer for a meeting by the knobs disabled_, deleted_, refuse_meetings and meeting_kinds."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs

    def is_disabled(self, sid: str) -> bool:
        """Return True if the owner has switched this meeting off."""
        return sid in listed(self._knobs.disabled_meetings)

    def is_deleted(self, sid: str) -> bool:
        """Return True if the owner has deleted this meeting."""
        return sid in listed(self._knobs.deleted_meetings)

    def is_available(self, sid: str) -> bool:
        """Return True if visitors can book this meeting."""
        return not (self.is_disabled(sid) or self.is_deleted(sid))

    def refusal(self, sid: str) -> str:
        """Return how its calls for a link fail: a status, hang or html; empty if they do not."""
        return mapped(self._knobs.refuse_meetings).get(sid, "")

    def kind(self, sid: str) -> MeetingKind:
        """Return what its form makes."""
        return cast("MeetingKind", mapped(self._knobs.meeting_kinds).get(sid, "plain"))

    def as_dict(self, sid: str) -> dict[str, Any]:
        """Return all of it, under the names that `changes` takes."""
        return {
            "meeting_sid": sid,
            "disabled": self.is_disabled(sid),
            "deleted": self.is_deleted(sid),
            "refuse": self.refusal(sid),
            "kind": self.kind(sid),
        }

    def changes(
        self,
        sid: str,
        *,
        disabled: bool | None = None,
        deleted: bool | None = None,
        refuse: str | None = None,
        kind: str | None = None,
    ) -> dict[str, object]:
        """Return the knobs to set so that this one meeting changes; None leaves as it is."""
        knobs = self._knobs
        new: dict[str, object] = {}
        if disabled is not None:
            new["disabled_meetings"] = _with(knobs.disabled_meetings, sid, disabled)
        if deleted is not None:
            new["deleted_meetings"] = _with(knobs.deleted_meetings, sid, deleted)
        if refuse is not None:
            new["refuse_meetings"] = _mapping(knobs.refuse_meetings, sid, refuse)
        if kind is not None:
            new["meeting_kinds"] = _mapping(knobs.meeting_kinds, sid, kind)
        return new


def _with(text: str, sid: str, there: bool) -> str:
    names = listed(text) | {sid} if there else listed(text) - {sid}
    return ",".join(sorted(names))


def _mapping(text: str, sid: str, value: str) -> str:
    pairs = {key: how for key, how in mapped(text).items() if key != sid}
    if value:
        pairs[sid] = value
    return ",".join(f"{key}={how}" for key, how in sorted(pairs.items()))
