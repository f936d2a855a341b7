"""Render the chart, check it against Kubernetes' schemas, and keep what came out.

    pip install helm-python-sdk kubernetes-validate
    python deploy/helm/render.py          # writes deploy/helm/rendered/

It needs no cluster and no helm binary: the package holds Helm itself. `helm lint` and every
manifest must pass. A test compares the digest of the chart that stands in each rendered file.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
CHART = HERE / "linkpool"
VERSIONS = ("1.27", "1.31", "1.37")
TOML = """\
[workspaces.sales]
subdomain = "acme-sales"
api_key_file = "/run/secrets/linkpool/sales_api_key"

[meetings.intro]
workspace = "sales"
"""
# By name of the file: the values that somebody would set.
CASES: dict[str, dict[str, Any]] = {
    "default.yaml": {"provider": {"subdomain": "acme"}},
    "everything.yaml": {
        "config": TOML,
        "settings": {"SWEEP_SECONDS": "10", "LOG_LEVEL": "warning", "PROVIDER_RATE": 20},
        "optionalSecrets": ["broker_url", "metrics_key", "notify_url"],
        "api": {"autoscaling": {"enabled": False}, "trustedProxies": "10.0.0.0/8"},
        "worker": {"concurrency": 4},
        "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "linkpool-tls"},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
        "nodeSelector": {"kubernetes.io/os": "linux"},
    },
}


def digest() -> str:
    """Return what the rendered files depend on, in one word."""
    found = hashlib.sha256()
    for path in sorted([*CHART.rglob("*"), HERE / "render.py"]):
        if path.is_file():
            found.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def documents(text: str) -> list[dict[str, Any]]:
    """Return the manifests of a rendered file."""
    return [each for each in yaml.safe_load_all(text) if each]


def main() -> int:
    """Render and check all cases. Return the exit code."""
    import kubernetes_validate
    from helm_python import Chart, lint

    wrong: list[str] = []
    (HERE / "rendered").mkdir(exist_ok=True)
    for name, values in CASES.items():
        report = lint(CHART, values, strict=True)
        wrong += [f"{name}: {each['error']}" for each in report["messages"] if each["severity"] > 1]
        wrong += [f"{name}: {each}" for each in report["errors"]]
        with Chart.load(CHART) as chart:
            rendered = chart.render(values, name="linkpool", namespace="linkpool")
        parts = [text for file, text in sorted(rendered.items()) if file.endswith(".yaml")]
        text = "\n---\n".join(part.strip() for part in parts if part.strip())
        found = documents(text)
        for document in found:
            if document["apiVersion"].startswith("monitoring.coreos.com"):
                continue  # not of Kubernetes itself
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    where = f"{name}: {document['kind']} {document['metadata']['name']}"
                    wrong.append(f"{where}, {version}: {error.message}")
        head = f"# Made by deploy/helm/render.py from chart {digest()}\n"
        (HERE / "rendered" / name).write_text(head + text + "\n", "utf-8")
        sys.stdout.write(f"{name}: {len(found)} manifests\n")
    sys.stdout.writelines(f"{each}\n" for each in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
