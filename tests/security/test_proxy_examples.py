"""Test the proxy configurations of deploy/proxies as they stand, over TLS, in front of a real API.

Only addresses and the certificate are put in their place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pool.up import ports
from tests.acceptance.product import Product, wait_until
from tests.debian import debian
from tests.ending import end
from tests.security.table import KEY, SID

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "proxies"
UPSTREAM = "127.0.0.1:8000"
# Started by root, its workers would be another user, who may not write where the test is.
_NGINX = """
{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  include {folder}/example;
}}
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no certificates can be made: apt-get install openssl")
    folder = tmp_path_factory.mktemp("certificate")
    words = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    words += ["-subj", "/CN=linkpool", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "pem")]
    subprocess.run([openssl, *words, *files], check=True, capture_output=True)
    whole = folder / "whole.pem"
    whole.write_text((folder / "pem").read_text() + (folder / "key").read_text())
    return whole


def written(name: str, folder: Path, port: int, upstream: int, certificate: Path) -> list[str]:
    """Write the example with other addresses. Return the command that runs it."""
    text = (EXAMPLES / name).read_text("utf-8")
    assert text.count(UPSTREAM) == 1
    text = text.replace(UPSTREAM, f"127.0.0.1:{upstream}")
    file = folder / "example"
    if name == "nginx.conf":
        text = text.replace("/etc/ssl/linkpool.pem", str(certificate))
        text = text.replace("/etc/ssl/linkpool.key", str(certificate))
        file.write_text(text.replace("listen 443", f"listen 127.0.0.1:{port}"))
        (folder / "conf").write_text(
            _NGINX.format(folder=folder, user="user root;" if os.geteuid() == 0 else "")
        )
        return [debian("nginx"), "-p", str(folder), "-c", str(folder / "conf")]
    if name == "haproxy.cfg":
        text = text.replace("/etc/ssl/linkpool.pem", str(certificate))
        file.write_text(text.replace("bind :443", f"bind 127.0.0.1:{port}"))
        return [debian("haproxy"), "-db", "-f", str(file)]
    site = f"https://127.0.0.1:{port} {{\n\ttls {certificate} {certificate}\n"
    options = f"{{\n\tadmin off\n\tauto_https off\n\tstorage file_system {folder}/storage\n}}\n"
    file.write_text(options + text.replace("linkpool.example.com {\n", site))
    return [debian("caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]


@pytest.fixture(params=["nginx.conf", "Caddyfile", "haproxy.cfg"])
def outside(
    request: pytest.FixtureRequest, stage: Product, tmp_path: Path, certificate: Path
) -> Iterator[httpx.Client]:
    """Return a client of the proxy, as a visitor is."""
    port = ports.choose()
    command = written(request.param, tmp_path, port, stage.port, certificate)
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/usr/sbin"}
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environ)
    try:
        with httpx.Client(
            base_url=f"https://127.0.0.1:{port}", verify=False, trust_env=False, timeout=20
        ) as client:

            def answers() -> bool:
                assert process.poll() is None, (tmp_path / "said").read_text()
                try:
                    return client.get("/livez").status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(answers, 60)
            yield client
    finally:
        end(process, tmp_path / "said")


def test_an_example_serves_visitors_and_hides_what_is_for_the_inside(
    stage: Product, outside: httpx.Client
) -> None:
    """Claims, probes by HEAD, the page's redirects and cookies over TLS; but not the metrics."""
    key = {"X-API-Key": KEY.decode()}
    claims = f"/v1/meetings/{SID.decode()}/claims"
    ann = {"customer_id": "ann"}
    links = {outside.post(claims, json=ann, headers=key).json()["claim"]["slug"] for _ in range(3)}
    assert links == {stage.slug(SID.decode(), "ann")}
    assert outside.head("/readyz").status_code == 200
    assert outside.get("/metrics").status_code == outside.get("/metrics?x=1").status_code == 404
    assert httpx.get(f"{stage.url}/metrics", trust_env=False).status_code == 200
    refused = outside.post(claims, content=b" " * 20_000, headers=key)
    assert refused.status_code == 413
    signed_in = outside.post("/ops/sign-in", data={"key": KEY.decode()})
    assert signed_in.status_code in (302, 303), signed_in.text
    assert "; Secure" in signed_in.headers["set-cookie"]
    to = signed_in.headers["location"]
    assert to.startswith(("/", str(outside.base_url)))
    assert outside.get(to).status_code == 200
