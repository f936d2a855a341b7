"""Look for known vulnerabilities in what is installed, where the service that knows them answers.

Fail if there are any. Where nothing can be looked up, say so, and fail only for a release
(LINKPOOL_RELEASE=1). The result is kept in a file, so that CI can say it again at its end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SECONDS = 120


def main() -> int:
    """Run pip-audit on this environment; 1 if it found anything, or nothing where it must."""
    lines, failed = audit()
    if os.environ.get("LINKPOOL_RELEASE") == "1" and lines[-1].startswith("NOTHING WAS AUDITED"):
        lines.append("a release must be audited: run this where the vulnerability service answers")
        failed = True
    print("\n".join(lines))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text("\n".join(lines) + "\n", "utf-8")
    return int(failed)


def audit() -> tuple[list[str], bool]:
    """Return what there is to say, and whether something vulnerable is installed."""
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(  # noqa: S603 - the command is written above
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        found = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return [f"NOTHING WAS AUDITED: no answer about vulnerabilities within {SECONDS} s"], False
    except (ValueError, KeyError, TypeError):
        # The last line of a traceback; what stands behind its colon names hosts.
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return [f"NOTHING WAS AUDITED: {said[-1].partition(':')[0][:100]}"], False
    audited = [each for each in found if "skip_reason" not in each]
    if not audited:
        return ["NOTHING WAS AUDITED: the service knows none of the packages here"], False
    lines = []
    for each in audited:
        for vulnerability in each["vulns"]:
            mended = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            lines.append(
                f"{each['name']} {each['version']}: {vulnerability['id']}, mended in {mended}"
            )
    unknown = len(found) - len(audited)
    failed = bool(lines)
    lines.append(f"{len(audited)} packages audited, {unknown} unknown to the service")
    return lines, failed


if __name__ == "__main__":
    sys.exit(main())
