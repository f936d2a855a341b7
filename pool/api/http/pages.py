"""Render the frame of every HTML page: no script, no other host, light and dark."""

from __future__ import annotations

from html import escape

from fastapi.responses import HTMLResponse

CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --paper: #fff; --ink: #1b1f24;
  --link: #0550ae; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171c; --ink: #e4e7eb; --link: #8ab8ff; } }
html { background: var(--paper); color: var(--ink); } a { color: var(--link); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
details { margin: .4rem 0; } summary { cursor: pointer; } pre { overflow-x: auto; }
code, pre { background: var(--soft); border-radius: .2rem; padding: .1rem .3rem; }
"""


def prose(text: str) -> str:
    """Return text as HTML, with what stands between backticks as code."""
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:  # a backtick of its own
        return escape(text)
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))


def page(title: str, body: str) -> HTMLResponse:
    """Return a page; `title` is text, `body` is HTML whose parts are escaped already."""
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · linkpool</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    headers = {
        "content-security-policy": CSP,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }
    return HTMLResponse(html, headers=headers)
