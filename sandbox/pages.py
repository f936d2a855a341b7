"""Write pages: style, frame, table. Everything that is not written here is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--soft:#5c6877;--page:#f3f5f8;--card:#fff;
--line:#d8dee6;--tint:#0b6e5f;--on-tint:#fff;--wash:#e5f3f0}
@media(prefers-color-scheme:dark){:root{--ink:#e8edf3;--soft:#9aa7b6;--page:#11161c;
--card:#1a2129;--line:#323d49;--tint:#5fd0bb;--on-tint:#06231e;--wash:#17322e}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:44rem;margin:0 auto;padding:2rem 1rem 3rem}
main.wide{max-width:68rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:1.5rem;
margin-bottom:1rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem}h2{font-size:1.05rem;margin:0 0 .75rem}
p{margin:.25rem 0 .75rem}.card p:last-child{margin-bottom:0}
.soft{color:var(--soft)}.note{color:var(--soft);font-size:.85rem}
label.text{display:block;font-weight:600;margin:1rem 0 .25rem}
input[type=text],input[type=email]{width:100%;font:inherit;color:inherit;background:var(--page);
border:1px solid var(--line);border-radius:8px;padding:.6rem .75rem}
fieldset{border:0;padding:0;margin:1.25rem 0}legend{font-weight:600;padding:0}
.day{display:grid;grid-template-columns:8rem repeat(3,1fr);gap:.5rem;align-items:center;
margin-top:.5rem}
.slot{position:relative}.slot input{position:absolute;opacity:0;inset:0;margin:0;width:100%;
height:100%;cursor:pointer}
.slot span{display:block;text-align:center;border:1px solid var(--line);border-radius:8px;
padding:.5rem .25rem;font-variant-numeric:tabular-nums}
.slot input:checked+span{background:var(--tint);color:var(--on-tint);border-color:var(--tint)}
.slot input:focus-visible+span,button:focus-visible,input:focus-visible,a:focus-visible{
outline:3px solid var(--tint);outline-offset:2px}
button{font:inherit;font-weight:600;border-radius:8px;border:1px solid var(--tint);
padding:.6rem 1.25rem;cursor:pointer;background:var(--tint);color:var(--on-tint)}
button.plain{background:transparent;color:var(--tint)}
.row{display:flex;flex-wrap:wrap;gap:.75rem}.row form{margin:0}
.notice{background:var(--wash);border-radius:8px;padding:.6rem .75rem}
a{color:var(--tint)}dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:0 0 1rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
table.many{min-width:38rem}
ol{margin:0;padding-left:1.5rem}
th,td{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);
vertical-align:top}th{color:var(--soft);font-weight:600;white-space:nowrap}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
@media(max-width:480px){main{padding:1rem .75rem 2rem}.card{padding:1.1rem}
.day{grid-template-columns:repeat(3,1fr)}.day b{grid-column:1/-1}}
"""
# The one style is allowed by its hash; no script runs. Framing is allowed: sites embed the page.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'self'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'"
)


def message(head: str, text: str) -> str:
    """Return a page with only a message."""
    return page(head, f'<div class="card"><h1>{escape(head)}</h1><p>{escape(text)}</p></div>')


def table(
    head: str, columns: Sequence[str], rows: Iterable[Iterable[str]], link_to: str | None = None
) -> str:
    """Return a card with a table; `link_to` makes each first cell a link to a page below it."""
    lines = []
    for row in rows:
        cells = [escape(cell) for cell in row]
        if link_to is not None:
            cells[0] = f'<a href="{link_to}{cells[0]}"><code>{cells[0]}</code></a>'
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    # On a phone a table of many columns scrolls sideways; else its cells would be a word wide.
    shape = " class=many" if len(columns) > 3 else ""
    heads = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = (
        f"<div class='scroll'><table{shape}><tr>{heads}</tr>{''.join(lines)}</table></div>"
        if lines
        else '<p class="soft">None yet.</p>'
    )
    return f'<div class="card"><h2>{escape(head)}</h2>{body}</div>'


def page(title: str, body: str, *, wide: bool = False) -> str:
    """Return a whole page around `body`."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main{' class=wide' if wide else ''}>{body}</main></body></html>"
    )


def moment(at: str) -> str:
    """Return a time as people read it."""
    return datetime.fromisoformat(at).strftime("%a %d %b %Y, %H:%M UTC")
