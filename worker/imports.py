"""Celery puts the current directory before all others while it imports; here it must not."""

from __future__ import annotations

import contextlib

from celery.utils import imports


def keep_current_directory_out() -> None:
    """Let Celery import from where Python imports, and from nowhere else.

    Celery imports what it is given by name, and all that those modules import in turn, with the
    current directory at the head of the path: a folder `billiard` there would be run.
    """
    imports.cwd_in_path = contextlib.nullcontext
