"""/ops: the operators' page. Server-rendered; works without a script and is live with one.

How a view is added
-------------------
1. A module of its own, with a router from `routing.views()`; its routes are included in
   `routes.py`, and an entry in `navigation.PLACES` if it is a place to go to.
2. Reading: a GET route that takes `session: SignedIn` (whoever is not signed in with a key of
   scope read or admin is led to the sign-in). What is about one meeting begins with
   `session.caller.check(Scope.READ, sid)`; what lists meetings leaves out those that
   `session.sees(sid)` denies; what is for admins alone begins with
   `session.caller.check(Scope.ADMIN)`, or `check_everywhere` where it is about all meetings.
3. It ends with `render(request, "name.html", session, title=…, …)`. The template extends
   `base.html`, fills the block `content`, and takes badges, bars, sparklines, times and forms
   from `components.html`. Autoescape is on, and an unknown name is an error. The content
   security policy forbids inline scripts and styles, also `style=` attributes: classes go
   into `static/ops.css`, numbers into SVG attributes.
4. Acting: a POST route that takes `action: Posted`, which has checked the session, the CSRF
   token, that the form came from our own site, and the scope admin. It begins with
   `action.caller.check(Scope.ADMIN, sid)`, reads its fields with `action.form.text(…)`, and
   ends with `done(request, url, "Paused.")` or `failed(request, url, "…")`: a redirect to a
   page that says so once (never a secret: show that on the POST's own answer by `render`).
   Its form is made by the macro `action_form`, which carries the token; actions are shown
   only where `session.may_act`.
5. Errors are raised: `routing.PageRoute` turns every LinkpoolError into a page in the frame
   with the status of the one table in `pool.api.http.problems`.
6. Live parts: the script updates `<time data-at>` by itself; see `static/ops.js`.
"""

from __future__ import annotations
