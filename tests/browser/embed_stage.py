"""Serve pages of a site, and on another origin a scripted linkpool whose links can be booked.

The tag is the real one, and so is the stand-in for the provider's embed script.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pool.config.settings import Workspace
from pool.embeds.tag import tag_of

Reply = tuple[int, dict[str, str], bytes]
SANDBOX = Path(__file__).parents[2] / "sandbox"
NONCE = "cm9sbGVkLWZvci1lYWNoLXBhZ2U"

FRAME = """<!doctype html><html lang="en"><title>Pick a time</title><main><h1>Pick a time</h1>
<form method="post"><button>Book</button></form></main></html>"""
DONE = '<!doctype html><html lang="en"><title>Done</title><main><h1>Thank you</h1></main></html>'


def problem(
    status: int, name: str, *, retry_after: int | None = None, **more: str
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return an error as linkpool answers it."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return status, headers, {"type": f"/problems/{name}", "status": status, "title": name, **more}


class Server:
    """An HTTP server on a port of its own, which answers by a function."""

    def __init__(self, reply: Callable[[str, str, dict[str, str], bytes], Reply]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, sent, content = reply(self.command, self.path, headers, body)
                self.send_response(status)
                for name, value in {"content-length": str(len(content)), **sent}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_OPTIONS = answer  # noqa: N815 - the library's names

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@dataclass
class Linkpool:
    """The answers of the scripted linkpool, and the questions that it was asked."""

    failures: list[tuple[int, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    by_token: dict[str, tuple[int, dict[str, str], dict[str, Any]]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)  # customer to slug
    consumed: set[str] = field(default_factory=set)
    asked: list[dict[str, Any]] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    delay_seconds: float = 0.0
    more: dict[str, Any] = field(default_factory=dict)  # goes over the answers' own fields
    booking: dict[str, Any] = field(default_factory=dict)


class Stage:
    """A site at `http://localhost`, and a linkpool, which is the provider too, at 127.0.0.1."""

    def __init__(self) -> None:
        self.linkpool = Linkpool()
        self.pages: dict[str, tuple[str, dict[str, str]]] = {}
        self.reports: list[str] = []
        self._lock = threading.Lock()
        self._api = Server(self._linkpool)
        self._site = Server(self._page)
        self.api = f"http://127.0.0.1:{self._api.port}"
        self.site = f"http://localhost:{self._site.port}"
        self.script = f"{self.api}/javascript/embed.js"
        workspace = Workspace(
            name="default", subdomain="acme", api_key="k", base_url=self.api  # type: ignore[arg-type]
        )  # fmt: skip
        self._tag = tag_of({"default": workspace})

    def reset(self) -> None:
        """Forget everything from the test before."""
        self.linkpool = Linkpool()
        self.pages = {}
        self.reports = []

    def close(self) -> None:
        self._api.close()
        self._site.close()

    def page(
        self,
        body: str,
        *,
        path: str = "/page",
        head: str = "",
        headers: dict[str, str] | None = None,
    ) -> str:
        """Serve a page of the site. Return its address."""
        self.pages[path] = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A site</title>'
            f'<link rel="icon" href="data:,">{head}</head>'
            f"<body><main><h1>A site</h1>{body}</main></body></html>",
            headers or {},
        )
        return self.site + path

    def file(self, content: str, changes: dict[str, str]) -> str:
        """Serve a page of a file, with its placeholders replaced. Return its address."""
        for placeholder, value in changes.items():
            assert placeholder in content, placeholder
            content = content.replace(placeholder, value)
        self.pages["/file"] = content, {}
        return f"{self.site}/file"

    def tag(self, **attributes: str) -> str:
        """Return the script tag, with these attributes and else a token and a reserved height."""
        given = {"data-meeting": "demo", "style": "display:block;height:44rem"}
        if not {"data_token", "data_public_key"} & set(attributes):
            given["data-token"] = "token-of-ada"
        given |= {name.replace("_", "-"): value for name, value in attributes.items()}
        listed = " ".join(f'{name}="{value}"' for name, value in given.items())
        return f'<script async src="{self.api}/embed.js" {listed}></script>'

    # -- what is served

    def _page(self, method: str, path: str, _headers: dict[str, str], body: bytes) -> Reply:
        if method == "POST":
            self.reports.append(body.decode())
            return 204, {}, b""
        if path not in self.pages:
            return 404, {}, b""
        html, headers = self.pages[path]
        return 200, {"content-type": "text/html; charset=utf-8", **headers}, html.encode()

    def _linkpool(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        with self._lock:
            self.linkpool.hits[f"{method} {path.partition('?')[0]}"] += 1
        if path == "/embed.js":
            return 200, _script(), self._tag.content
        if path == "/javascript/embed.js":
            return 200, _script(), (SANDBOX / "embed.js").read_bytes()
        if path == "/v1/embed/claims":
            return self._claims(headers, body)
        slug = path.partition("?")[0].removeprefix("/")
        if method == "POST":
            self.linkpool.consumed.add(slug)
            return 303, {"location": "/done"}, b""
        page = DONE if slug == "done" or slug in self.linkpool.consumed else FRAME
        return 200, {"content-type": "text/html; charset=utf-8"}, page.encode()

    def _claims(self, headers: dict[str, str], body: bytes) -> Reply:
        time.sleep(self.linkpool.delay_seconds)
        with self._lock:
            state, asked = self.linkpool, json.loads(body)
            state.asked.append(asked)
            if state.failures:
                status, more, answer = state.failures.pop(0)
            elif asked.get("token") in state.by_token:
                status, more, answer = state.by_token[asked["token"]]
            else:
                status, more, answer = 200, {}, self._claimed(asked)
        cors = {"access-control-allow-origin": headers.get("origin", "*")}
        cors["access-control-expose-headers"] = "Retry-After"
        return (
            status,
            {"content-type": "application/json", **cors, **more},
            json.dumps(answer).encode(),
        )

    def _claimed(self, asked: dict[str, Any]) -> dict[str, Any]:
        state, made = self.linkpool, {}
        if "public_key" in asked:
            made["visitor"] = asked.get("visitor") or f"visitor-{len(state.links) + 1}"
        customer = made.get("visitor") or asked["token"]
        slug = state.links.get(customer)
        if slug is None:
            slug = state.links[customer] = f"one-off-{len(state.links) + 1}"
        booked = slug in state.consumed
        return {
            "state": "consumed" if booked else "claimed",
            "url": f"{self.api}/{slug}",
            "embed": {"type": "inline", "slug": slug, "queryParams": {"ref": slug}},
            "script": self.script,
            **({"booking": state.booking} if booked and state.booking else {}),
            **made,
            **state.more,
        }  # fmt: skip

    def claims(self) -> int:
        """Return the number of links that are bound."""
        return len(self.linkpool.links)


def _script() -> dict[str, str]:
    return {
        "content-type": "text/javascript; charset=utf-8",
        "access-control-allow-origin": "*",
        "cache-control": "max-age=300",
    }


def strict_policy(stage: Stage) -> dict[str, str]:
    """Return a Content-Security-Policy that runs nothing but what carries the nonce."""
    return {
        "content-security-policy": f"default-src 'none'; base-uri 'none'; img-src data:; "
        f"script-src 'nonce-{NONCE}'; style-src 'nonce-{NONCE}'; connect-src 'self' {stage.api}; "
        f"frame-src {stage.api}"
    }
