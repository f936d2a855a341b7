"""A booking page in Flask.

pip install flask ./clients/python
LINKPOOL_URL=… LINKPOOL_KEY=… SECRET_KEY=… flask --app app run
"""

import os
import uuid

from flask import Flask, session
from linkpool_client import Client, LinkpoolError, Unavailable
from markupsafe import Markup

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]  # signs the cookie that remembers the visitor
linkpool = Client(os.environ["LINKPOOL_URL"], os.environ["LINKPOOL_KEY"])
meeting = os.environ.get("LINKPOOL_MEETING", "demo")


@app.get("/")
def booking() -> tuple[str, dict[str, str]]:
    """Show the visitor's own link; the same one on each visit."""
    # Use your own id where you have one: the user's, the order's, the lead's.
    visitor = session.setdefault("visitor", str(uuid.uuid4()))
    page = "<!doctype html><title>Book a call</title><h1>Book a call</h1>" + embed(visitor)
    return page, {"Cache-Control": "no-store"}  # nobody else may see this visitor's link


def embed(visitor: str) -> str:
    """Return what the page shows in the place of the booking."""
    try:
        return linkpool.claim(meeting, f"visitor-{visitor}", embed="inline").embed_html or ""
    except LinkpoolError as error:
        app.logger.warning("no link for a visitor: %s", error)
        if isinstance(error, Unavailable) and error.fallback_url:
            return Markup('<a href="{}">Book a time</a>').format(error.fallback_url)
    return "<p>Booking is not available right now. Please try again in a few minutes.</p>"
