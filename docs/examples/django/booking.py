"""A booking page in Django, all in one file; in a project of yours, take the view.

pip install django ./clients/python
LINKPOOL_URL=… LINKPOOL_KEY=… SECRET_KEY=… python booking.py runserver
"""

import logging
import os
import sys
import uuid

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from linkpool_client import Client, LinkpoolError, Unavailable

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
linkpool = Client(os.environ["LINKPOOL_URL"], os.environ["LINKPOOL_KEY"])
meeting = os.environ.get("LINKPOOL_MEETING", "demo")


@never_cache  # nobody else may see this visitor's link
def booking(request: HttpRequest) -> HttpResponse:
    """Show the visitor's own link; the same one on each visit."""
    # Use your own id where you have one: the user's, the order's, the lead's.
    visitor = request.session.setdefault("visitor", str(uuid.uuid4()))
    page = "<!doctype html><title>Book a call</title><h1>Book a call</h1>" + embed(visitor)
    return HttpResponse(page)


def embed(visitor: str) -> str:
    """Return what the page shows in the place of the booking."""
    try:
        return linkpool.claim(meeting, f"visitor-{visitor}", embed="inline").embed_html or ""
    except LinkpoolError as error:
        logging.warning("no link for a visitor: %s", error)
        if isinstance(error, Unavailable) and error.fallback_url:
            return format_html('<a href="{}">Book a time</a>', error.fallback_url)
    return "<p>Booking is not available right now. Please try again in a few minutes.</p>"


urlpatterns = [path("", booking)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
