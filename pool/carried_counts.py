"""What processes that ended had counted, kept in one file, so that counters never run back.

Prometheus takes a counter that is smaller than before for one that began anew, and adds all
of it to every increase. Where one answer sums several processes, the restart of one would
so count the others' work a second time.
"""

from __future__ import annotations

import json
import os
import struct
from collections import Counter
from pathlib import Path
from typing import Any

_KINDS = ("counter", "histogram")  # all there are; files are named kind_pid.db
_CARRIED = "carried"  # stands where a process id does


def carry_over(directory: Path) -> None:
    """Moves the counts of ended processes into one file per kind. A file that a crash left
    unreadable is dropped."""
    for kind in _KINDS:
        total: Counter[str] = Counter()
        kept = directory / f"{kind}_{_CARRIED}.db"
        ended = [path for path in directory.glob(f"{kind}_*.db") if not _lives(path)]
        for path in ended:
            total.update(_read(path))
        if not set(ended) - {kept}:
            continue
        # Readers look for .db files: this is none until it is whole.
        new = kept.with_suffix(".new")
        new.unlink(missing_ok=True)
        file = _counts_in()(str(new))
        for key, value in total.items():
            file.write_value(key, value, 0.0)
        file.close()
        for path in ended:
            path.unlink(missing_ok=True)
        if total:
            new.replace(kept)
        else:
            new.unlink()


def _read(path: Path) -> dict[str, float]:
    """The counts of a file, by the library's keys; none if it cannot be read."""
    try:
        found = {key: value for key, value, *_ in _counts_in().read_all_values_from_file(path)}
        for key in found:
            _name, _sample, _labels, _help = json.loads(key)
    except (OSError, RuntimeError, ValueError, TypeError, struct.error):
        return {}
    return found


def _counts_in() -> Any:
    # Here and not above: the library decides at its import whether counts are shared.
    from prometheus_client import mmap_dict

    return mmap_dict.MmapedDict


def _lives(path: Path) -> bool:
    """Whether the process a file is named for may still count into it. Whoever has that id
    by now, and is ours, goes on where the file ends."""
    pid = path.stem.rpartition("_")[2]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
