"""Keep Celery from putting the current directory at the head of the import path."""

from __future__ import annotations

import contextlib

from celery.utils import imports


def keep_current_directory_out() -> None:
    """Let Celery import from where Python imports, and from nowhere else.

    Celery imports modules that are given by name, and all that they import in turn, with the
    current directory at the head of the path: the code in a folder `billiard` there would run.
    """
    imports.cwd_in_path = contextlib.nullcontext
