// Small helps: buttons that copy, forms that are sent once, a switch of the theme, saved filters.

const byId = (id) => document.getElementById(id);

/** Has screen readers read out a message. */
function announce(words) {
  const status = byId("said");
  if (!status) return;
  status.textContent = "";
  requestAnimationFrame(() => { status.textContent = words; });
}

// -- copying ----------------------------------------------------------------------

/** Copies a text; also where there is no clipboard: without TLS, or without permission. */
async function copied(text) {
  if (await navigator.clipboard?.writeText(text).then(() => true, () => false)) return true;
  const focused = document.activeElement, area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return done;
}

async function copyBy(button, text, what) {
  const done = await copied(text);
  announce(done ? `Copied ${what}.` : `The browser did not let ${what} be copied.`);
  const shown = done ? "done" : "refused";
  button.classList.add(shown);
  setTimeout(() => button.classList.remove(shown), 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button[data-copy]");
  if (button) copyBy(button, button.dataset.copy, button.title.replace(/^Copy /, ""));
});

// -- the theme --------------------------------------------------------------------

/** Shows a theme at once, and has the server remember it for the next page. */
document.querySelector("form.themes")?.addEventListener("submit", async (event) => {
  const form = event.currentTarget, theme = event.submitter?.value;
  if (!theme) return;
  event.preventDefault();
  const root = document.documentElement;
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  for (const each of form.querySelectorAll("[name=theme]")) each.ariaPressed = String(each.value === theme);
  const body = new URLSearchParams(new FormData(form));
  body.set("theme", theme);
  const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => null);
  if (answer?.type !== "opaqueredirect") announce("The theme could not be kept: linkpool does not answer.");
});

// -- forms ------------------------------------------------------------------------

const AGAIN_MS = 10_000; // after which a form that was not answered may be sent again
const sent = new Set();

/** Has a second click send nothing: it would make a second key, or try a second link. */
document.addEventListener("submit", (event) => {
  const form = event.target, button = event.submitter;
  if (event.defaultPrevented || form.method !== "post") return;
  if (sent.has(form)) return event.preventDefault();
  sent.add(form);
  button?.setAttribute("aria-busy", "true");
  setTimeout(() => mayBeSent(form, button), AGAIN_MS);
});

function mayBeSent(form, button) {
  sent.delete(form);
  button?.removeAttribute("aria-busy");
}

addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of sent) mayBeSent(form, form.querySelector("[aria-busy]"));
});

// What was found by a form is there again for who follows a link from it and comes back.
document.addEventListener("click", (event) => {
  const again = document.querySelector("[data-again]")?.dataset.again;
  if (again && event.target.closest?.("a[href]")) history.replaceState(null, "", again);
});

// -- saved filters ----------------------------------------------------------------

const KEPT = "linkpool-filters", PARTS = ["workspace", "q", "state"];

/** Returns the saved filters, each a name and a query; damaged ones are left out. */
function savedFilters() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
    return kept.filter((each) => typeof each?.name === "string" && typeof each?.query === "string");
  } catch {
    return [];
  }
}

/** Returns the filter in this page's address: empty where everything is shown. */
function queryHere() {
  const asked = new URLSearchParams(location.search), kept = new URLSearchParams();
  for (const part of PARTS) if (asked.get(part)) kept.set(part, asked.get(part));
  return kept.toString();
}

function keep(filters) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(filters));
  } catch {
    announce("This browser does not let the page save anything.");
  }
  showSaved();
}

function entry(filter, here) {
  const item = document.createElement("li"), link = document.createElement("a");
  link.href = `${location.pathname}?${filter.query}`;
  link.textContent = filter.name;
  if (filter.query === here) link.setAttribute("aria-current", "true");
  const forget = document.createElement("button");
  forget.type = "button";
  forget.className = "forget";
  forget.textContent = "×";
  forget.ariaLabel = `Forget the filter ${filter.name}`;
  forget.addEventListener("click", () => {
    keep(savedFilters().filter((each) => each.name !== filter.name));
    announce(`Forgot the filter ${filter.name}.`);
    (byId("saved-list").querySelector("a") ?? byId("q"))?.focus();
  });
  item.append(link, forget);
  return item;
}

function showSaved() {
  const place = byId("saved");
  if (!place) return;
  const filters = savedFilters(), here = queryHere();
  byId("saved-list").replaceChildren(...filters.map((each) => entry(each, here)));
  byId("saved-copy").dataset.copy = location.href;
  byId("saved-new").hidden = !here || filters.some((each) => each.query === here);
  place.hidden = !filters.length && !here;
}

byId("saved-new")?.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byId("saved-name").value.trim();
  if (!name) return;
  keep([...savedFilters().filter((each) => each.name !== name), { name, query: queryHere() }]);
  announce(`Saved the filter ${name}.`);
  byId("saved-name").value = "";
  byId("saved-list").querySelector("[aria-current]")?.focus();
});
addEventListener("storage", (event) => { if (event.key === KEPT) showSaved(); });
showSaved();
