"""Test the Helm chart's manifests and the systemd units: their commands start with their settings.

The manifests are those that deploy/helm/render.py rendered and checked against the schemas of
Kubernetes; here they only have to be of the chart as it is.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bad_settings import STARTED, attempt

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_spec = importlib.util.spec_from_file_location("render", DEPLOY / "helm" / "render.py")
assert _spec is not None
assert _spec.loader is not None
render = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(render)

RENDERED = {
    name: render.documents((DEPLOY / "helm" / "rendered" / name).read_text("utf-8"))
    for name in render.CASES
}
MANIFESTS = [(name, each) for name, found in RENDERED.items() for each in found]
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
STRONG = "kq8ZtT3vHn2LwYc7RbX5mPd9sGfJ4aVe"
SECRETS = {
    "redis_url": "redis://:p@127.0.0.1:1/0",
    "broker_url": "amqp://u:p@127.0.0.1:1/",
    "database_url": "postgresql://u:p@127.0.0.1:1/d",
    "notify_url": "https://hooks.test/x",
}


def pods() -> list[Any]:
    """Return the pod of each manifest that has one, with a name for the test."""
    return [
        pytest.param(
            each["spec"]["template"]["spec"], each, id=f"{each['metadata']['name']}-{name}"
        )
        for name, each in MANIFESTS
        if each["kind"] in ("Deployment", "Job")
    ]


def starts(
    words: str, environ: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that a command finds nothing wrong with an environment whose secrets are files."""
    monkeypatch.chdir(folder)
    values = " ".join(environ.values())
    named = {"sales_api_key", *re.findall(r"secrets/(?:linkpool/)?(\w+)", values)}
    for name in named:
        file = folder / name
        file.write_text(SECRETS.get(name, STRONG))
        file.chmod(0o600)
    known = {
        name: re.sub(r"^.*secrets/(?:linkpool/)?", f"{folder}/", value)
        for name, value in environ.items()
    }
    known |= {"LINKPOOL_DATA_DIR": str(folder / "data")}
    if "LINKPOOL_CONFIG" in known:
        toml = folder / "linkpool.toml"
        toml.write_text(re.sub(r"/run/secrets/linkpool", str(folder), render.TOML))
        known["LINKPOOL_CONFIG"] = str(toml)
    done = attempt(words, known, monkeypatch)
    # Nobody answers where the database should be.
    assert done.code == (3 if words == "db upgrade" else STARTED), done


def test_the_manifests_are_those_of_the_chart() -> None:
    """A change of the chart needs a new rendering, which also checks it."""
    for name in render.CASES:
        text = (DEPLOY / "helm" / "rendered" / name).read_text("utf-8")
        assert f" {render.digest()}\n" in text, "run deploy/helm/render.py"


@pytest.mark.parametrize(("pod", "manifest"), pods())
def test_a_pod_starts_with_its_settings(
    pod: dict[str, Any], manifest: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in production mode, with each secret from a file and without variables of a Service."""
    [container] = pod["containers"]
    environ = {each["name"]: each["value"] for each in container["env"]}
    assert len(environ) == len(container["env"])
    assert environ["LINKPOOL_ENV"] == "production"
    assert not any("://" in value for value in environ.values())
    monkeypatch.setattr("pool.up.ports.check", lambda *_: None)
    starts(" ".join(container["args"]), environ, tmp_path, monkeypatch)


@pytest.mark.parametrize(("pod", "manifest"), pods())
def test_a_pod_is_confined(pod: dict[str, Any], manifest: dict[str, Any]) -> None:
    """No root, no capability, nothing to write but /data and /tmp, no token of the cluster."""
    [container] = pod["containers"]
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"]
    mounted = {each["name"] for each in container["volumeMounts"]}
    assert mounted == {each["name"] for each in pod["volumes"]}
    if manifest["kind"] == "Deployment":
        assert "readinessProbe" in container
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        assert manifest["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("case", render.CASES)
def test_the_other_manifests_choose_pods_that_exist(case: str) -> None:
    """Service, budgets and policies by their labels, the autoscaler by its name."""
    found = RENDERED[case]
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in found
        if each["kind"] in ("Deployment", "Job")
    ]
    kinds = {each["kind"] for each in found}
    assert {"Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount", "Job"} <= kinds
    assert kinds & {"HorizontalPodAutoscaler", "ServiceMonitor"}
    names = {each["metadata"]["name"] for each in found if each["kind"] == "Deployment"}
    for each in found:
        spec = each.get("spec", {})
        chosen = spec.get("podSelector") or spec.get("selector")
        if each["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            wanted = chosen.get("matchLabels", chosen)
            assert any(wanted.items() <= one.items() for one in labels), each
        if each["kind"] == "HorizontalPodAutoscaler":
            assert spec["scaleTargetRef"]["name"] in names
        if each["kind"] == "PodMonitor":
            chosen_parts = set(spec["selector"]["matchExpressions"][0]["values"])
            assert chosen_parts == {"worker", "beat"}
            assert spec["podMetricsEndpoints"][0]["port"] == "metrics"
        if each["kind"] == "ServiceMonitor":
            [service] = [one for one in found if one["kind"] == "Service"]
            assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
            assert spec["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
            # The alerts go by job="linkpool".
            assert service["metadata"]["labels"][spec["jobLabel"]] == "linkpool"


def unit(path: Path) -> dict[str, list[str]]:
    """Return the directives of a unit, each with its values in their order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_with_its_settings(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each secret is handed over as a credential and read from its file."""
    known = unit(path)
    environ = dict(each.split("=", 1) for line in known["Environment"] for each in line.split())
    handed = {each.partition(":")[0] for each in known.get("LoadCredential", [])}
    assert {value for value in environ.values() if "%d/" in value} == {f"%d/{e}" for e in handed}
    environ = {name: value.replace("%d/", "secrets/") for name, value in environ.items()}
    environ.pop("REMAP_SIGTERM", None)
    if "NEETOCAL_API_KEY" in str(environ):
        environ["LINKPOOL_NEETOCAL_SUBDOMAIN"] = "acme"  # in linkpool.env
    monkeypatch.setattr("pool.up.ports.check", lambda *_: None)
    [command] = known["ExecStart"]
    starts(command.partition(" ")[2], environ, tmp_path, monkeypatch)
    assert known.get("RestartPreventExitStatus", ["2"]) == ["2"]


def test_systemd_is_content_with_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd here: apt-get install systemd")
    for path in (DEPLOY / "systemd").iterdir():
        text = path.read_text("utf-8").replace("/opt/linkpool/bin/linkpool", "/bin/true")
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
