"""Looks for known vulnerabilities in what is installed, where the service that knows them answers.

Fails if there are any; where nothing can be looked up, says so in one line and goes on.
"""

from __future__ import annotations

import json
import subprocess
import sys

SECONDS = 120


def main() -> int:
    """Runs pip-audit on this environment; 1 if it found anything."""
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(  # noqa: S603 - the command is written above
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        found = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print(f"nothing audited: no answer about vulnerabilities within {SECONDS} s")
        return 0
    except (ValueError, KeyError, TypeError):
        # The last line of a traceback; what stands behind its colon names hosts.
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        print(f"nothing audited: {said[-1].partition(':')[0][:100]}")
        return 0
    audited = [each for each in found if "skip_reason" not in each]
    if not audited:
        print("nothing audited: the vulnerability service knows none of the packages here")
        return 0
    vulnerable = [each for each in audited if each["vulns"]]
    for each in vulnerable:
        for vulnerability in each["vulns"]:
            mended = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            print(f"{each['name']} {each['version']}: {vulnerability['id']}, mended in {mended}")
    print(f"{len(audited)} packages audited, {len(found) - len(audited)} unknown to the service")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
