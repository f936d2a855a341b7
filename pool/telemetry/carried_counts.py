"""Keep the counts of ended processes, in one file per kind.

If a counter shrinks, Prometheus assumes that it restarted from zero and adds its whole value to
the increase. As one answer sums several processes, the restart of one would count the others'
work a second time. So the counts of ended processes are kept.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_KINDS = ("counter", "histogram")  # all kinds in use; files are named kind_pid.db
_CARRIED = "carried"  # takes the place of a process id


def fold(files: Iterable[Path], into: Path) -> None:
    """Add the counts of these files to those kept in a directory, and remove the files.

    A file that a crash left unreadable is dropped.
    """
    ended = set(files)
    for kind in _KINDS:
        kept = into / f"{kind}_{_CARRIED}.db"
        news = {path for path in ended if path.name.startswith(f"{kind}_")} - {kept}
        if not news:
            continue
        total: Counter[str] = Counter()
        for path in (kept, *news):
            total.update(_read(path))
        # Readers look for .db files, so the file gets that name once it is complete.
        new = kept.with_suffix(".new")
        new.unlink(missing_ok=True)
        file = _counts_in()(str(new))
        for key, value in total.items():
            file.write_value(key, value, 0.0)
        file.close()
        for path in news:
            path.unlink(missing_ok=True)
        if total:
            new.replace(kept)
        else:
            new.unlink()


def _read(path: Path) -> dict[str, float]:
    """Return the counts of a file by the library's keys, empty if it cannot be read."""
    try:
        found = {key: value for key, value, *_ in _counts_in().read_all_values_from_file(path)}
        for key in found:
            _name, _sample, _labels, _help = json.loads(key)
    except (OSError, RuntimeError, ValueError, TypeError, struct.error):
        return {}
    return found


def _counts_in() -> Any:
    # Not imported above: the library decides at its import whether counts are shared.
    from prometheus_client import mmap_dict

    return mmap_dict.MmapedDict
