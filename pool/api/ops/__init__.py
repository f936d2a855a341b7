"""Serve /ops, the operators' page: rendered on the server, and live where scripts run.

Each room uses only those below it; `state.py` holds the parts that outlive a request.

- `pages/`    shows the pages, one module each
- `actions/`  does what operators ask for on a page, and shows how it went
- `live/`     keeps open pages up to date
- `frame/`    gives each page what all of them share: routing, rendering, navigation, outcomes
- `session/`  knows who looks at the page, and that a form comes from the page itself
- `charts/`   turns samples of the past into geometry that templates draw

How a page is added
-------------------
1. Write a module in `pages/` with a router from `routing.views()`, include its router in
   `routes.py`, and add an entry to `navigation.PLACES` if it belongs in the navigation.
2. Reading is a GET route that takes `session: SignedIn` (a visitor who is not signed in with a
   key of scope read or admin is redirected to the sign-in). A view of one meeting begins with
   `session.caller.check(Scope.READ, sid)`; a list of meetings leaves out those that
   `session.sees(sid)` denies; a view for admins only begins with
   `session.caller.check(Scope.ADMIN)`, or `check_everywhere` if it is about all meetings.
3. It ends with `render(request, "name.html", session, title=…, …)`. The template extends
   `base.html`, fills the block `content`, and takes badges, bars, sparklines, times and forms
   from `components.html`. Autoescape is on, and an unknown name is an error. The content
   security policy forbids inline scripts and styles, also `style=` attributes: classes go
   into `static/ops.css`, numbers into SVG attributes.
4. An action is a POST route in `actions/` that takes `action: Posted`, which has checked the
   session, the CSRF token, that the form came from our own site, and the scope admin. It begins
   with `action.caller.check(Scope.ADMIN, sid)`, reads its fields with `action.form.text(…)`, and
   ends with `done(request, url, "Paused.")` or `failed(request, url, "…")`: a redirect to a
   page that shows the text once (never a secret: show that by `render` in answer to the POST).
   Its form is made by the macro `action_form`, which carries the token; actions are shown
   only where `session.may_act`.
5. Raise errors: `frame.routing.PageRoute` turns every LinkpoolError into a page in the frame
   with the status of the one table in `pool.api.http.problems`.
6. Live parts: the script updates `<time data-at>` by itself; see `static/ops.js`.
"""

from __future__ import annotations
