"""Run nginx, HAProxy and Caddy in front of linkpool, with upstream connections that are kept."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from pool.up import ports
from tests.debian import debian
from tests.ending import end

_NGINX = """
daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream linkpool {{ server 127.0.0.1:{upstream}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://linkpool;
      proxy_http_version 1.1;
      proxy_request_buffering {buffering};
      {connection}
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_next_upstream off;
    }}
  }}
}}
"""
# As many guides have it, for every location.
_WEBSOCKET = (
    "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;"
)
_PLAIN = 'proxy_set_header Connection "";'

_HAPROXY = """
global
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
  option http-keep-alive
  http-reuse always
  retries 0
listen linkpool
  bind 127.0.0.1:{port}
  server one 127.0.0.1:{upstream} maxconn 4
"""

_CADDY = """
{{
  admin off
  auto_https off
  storage file_system {directory}/storage
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{upstream} {{
    transport http {{
      keepalive_idle_conns_per_host 4
      max_conns_per_host 4
    }}
  }}
}}
"""

PROXIES = ("nginx", "nginx with websockets", "haproxy", "caddy")


@contextlib.contextmanager
def running(name: str, directory: Path, upstream: int) -> Iterator[int]:
    """Run a proxy. Yield its port."""
    port = ports.choose()
    known = {"directory": directory, "port": port, "upstream": upstream}
    file = directory / "proxy.conf"
    if name.startswith("nginx"):
        websockets = name != "nginx"
        more = {"connection": _WEBSOCKET if websockets else _PLAIN, "buffering": "off"}
        file.write_text(_NGINX.format(**known, **more))
        command = [debian("nginx"), "-p", str(directory), "-c", str(file)]
    elif name == "haproxy":
        file.write_text(_HAPROXY.format(**known))
        command = [debian("haproxy"), "-db", "-f", str(file)]
    else:
        file.write_text(_CADDY.format(**known))
        command = [debian("caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]
    with (directory / "said").open("wb") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, env={"HOME": str(directory), "PATH": "/usr/bin"}
        )
    try:
        _wait(port, process, directory / "said")
        yield port
    finally:
        end(process, directory / "said")


def _wait(port: int, process: subprocess.Popen[bytes], said: Path) -> None:
    ends = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < ends, said.read_text()
        time.sleep(0.05)
