"""Test that a worker imports the installed modules, not those in its directory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from celery.utils import imports

from worker.imports import keep_current_directory_out


def test_celery_does_not_import_from_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery itself would: it puts the directory before all others while it imports."""
    monkeypatch.setattr(imports, "cwd_in_path", imports.cwd_in_path)  # put back afterwards
    (tmp_path / "shadowed_by_directory.py").write_text("")
    monkeypatch.chdir(tmp_path)
    imports.import_from_cwd("shadowed_by_directory")
    del sys.modules["shadowed_by_directory"]
    keep_current_directory_out()
    for look in (imports.import_from_cwd, imports.find_module):
        with pytest.raises(ModuleNotFoundError):
            look("shadowed_by_directory")
