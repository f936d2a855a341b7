// What the keyboard opens: a search over meetings, views and actions, and a list of shortcuts.
// Shortcuts of single keys can be switched off, and are not looked at while somebody types.

const byId = (id) => document.getElementById(id);
const palette = byId("palette"), text = byId("palette-text"), list = byId("palette-list");
const help = byId("help"), keysOn = byId("keys-on");
const OFF = "linkpool-keys-off";
const SEQUENCE_MS = 1500; // from "g" to the letter of a place
const PAUSE_MS = 120; // in typing, after which meetings are looked for

let chosen = 0, shown = [], meetings = [], answeredFor = null, timer = 0, afterG = -SEQUENCE_MS;

// -- what can be chosen -------------------------------------------------------------

const label = (element) => element.textContent.replace(/\s+/g, " ").trim();

function views() {
  return [...document.querySelectorAll("nav[aria-label=Main] a")].map((link) => ({
    words: label(link), kind: "View", keys: `g ${link.dataset.key}`, run: () => { location.href = link.href; },
  }));
}

/** Returns what can be done on this page, and with the page itself. */
function actions() {
  const found = [];
  for (const each of document.querySelectorAll("main :is(summary.button, a.button, #zone, #live-pause)")) {
    if (each.hidden || each.closest("td, [hidden]")) continue;
    found.push({ words: label(each), kind: "Action", run: () => act(each) });
  }
  for (const each of document.querySelectorAll("form.themes button")) {
    found.push({ words: `Theme: ${label(each)}`, kind: "Action", run: () => each.click() });
  }
  found.push({ words: "Keyboard shortcuts", kind: "Action", keys: "?", run: () => help.showModal() });
  const out = document.querySelector("form[action$='/ops/sign-out'] button");
  if (out) found.push({ words: "Sign out", kind: "Action", run: () => out.click() });
  return found;
}

function act(element) {
  if (!element.matches("summary")) return element.click();
  const details = element.parentElement;
  details.open = true;
  details.scrollIntoView({ block: "nearest" });
  (details.querySelector("input:not([type=hidden]), select, textarea, button") ?? element).focus();
}

function filters() {
  let kept = [];
  try { kept = JSON.parse(localStorage.getItem("linkpool-filters") ?? "[]"); } catch { /* damaged: none */ }
  return kept.filter((each) => each?.name && each?.query).map((each) => ({
    words: String(each.name), kind: "Filter", run: () => { location.href = `${palette.dataset.pools}?${each.query}`; },
  }));
}

function pools() {
  return meetings.map((each) => ({
    words: each.sid, more: [each.name, each.state].filter(Boolean).join(" · "), kind: "Meeting",
    run: () => { location.href = palette.dataset.meeting + encodeURIComponent(each.sid); },
  }));
}

/** Sends what was typed to the search for customers; it must not be part of an address. */
function findCustomer(asked) {
  const form = document.createElement("form");
  form.method = "post";
  form.action = palette.dataset.find;
  const token = document.querySelector("form.themes input[name=csrf]");
  for (const [name, value] of [["csrf", token.value], ["asked", asked]]) {
    const field = document.createElement("input");
    field.type = "hidden";
    field.name = name;
    field.value = value;
    form.append(field);
  }
  document.body.append(form);
  form.submit();
}

function searches(asked) {
  if (!asked) return [];
  const query = new URLSearchParams({ q: asked });
  return [
    { words: `Find “${asked}”`, more: "customer id, slug, booking or e-mail", kind: "Search", run: () => findCustomer(asked) },
    { words: `Pools named “${asked}”`, kind: "Search", run: () => { location.href = `${palette.dataset.pools}?${query}`; } },
  ];
}

// -- the search ---------------------------------------------------------------------

function draw() {
  const before = chosen ? shown[chosen] : null;
  const asked = text.value.trim(), wanted = asked.toLowerCase().split(/\s+/);
  const fits = (each) => wanted.every((word) => each.words.toLowerCase().includes(word));
  const others = [...views(), ...filters(), ...actions()];
  shown = asked
    ? [...pools(), ...others.filter(fits), ...searches(asked)]
    : [...pools(), ...others];
  // What was chosen stays so, wherever it stands now.
  const same = before ? shown.findIndex((each) => each.kind === before.kind && each.words === before.words) : -1;
  chosen = Math.max(0, same);
  list.replaceChildren(...shown.map(option));
  mark();
}

function option(each, index) {
  const item = document.createElement("li");
  item.id = `palette-${index}`;
  item.role = "option";
  const words = document.createElement("span");
  words.textContent = each.words;
  item.append(words);
  const add = (content, kind) => {
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = content;
    item.append(" ", span);
  };
  if (each.more) add(each.more, "quiet");
  add(each.kind, "kind");
  if (each.keys && !keysAreOff()) add(each.keys, "kbd");
  item.addEventListener("pointermove", (event) => {
    // Browsers report a move, too, when a list appears under a pointer that rests.
    if (chosen === index || !(event.movementX || event.movementY)) return;
    chosen = index;
    mark();
  });
  item.addEventListener("click", () => run(index));
  return item;
}

function mark() {
  [...list.children].forEach((item, index) => { item.ariaSelected = String(index === chosen); });
  const item = list.children[chosen];
  if (item) text.setAttribute("aria-activedescendant", item.id);
  else text.removeAttribute("aria-activedescendant");
  item?.scrollIntoView({ block: "nearest" });
}

function run(index) {
  const each = shown[index];
  if (!each) return;
  palette.close();
  each.run();
}

/** Asks for the meetings that are called so. Returns false if something else was typed meanwhile. */
async function look() {
  const asked = text.value.trim();
  const query = new URLSearchParams(asked ? { q: asked } : {});
  const answer = await fetch(`${palette.dataset.meetings}?${query}`).catch(() => null);
  const found = answer?.ok && !answer.redirected ? (await answer.json().catch(() => ({}))).meetings : null;
  if (text.value.trim() !== asked || !palette.open) return false;
  meetings = found ?? [];
  answeredFor = asked;
  draw();
  const count = meetings.length;
  byId("palette-said").textContent = found
    ? `${count} ${count === 1 ? "meeting" : "meetings"}, ${shown.length} results in all.`
    : "linkpool does not answer, so no meetings are listed.";
  return true;
}

function open() {
  if (document.querySelector("dialog[open]")) return;
  text.value = "";
  meetings = [];
  answeredFor = null;
  chosen = 0;
  palette.showModal();
  draw();
  look();
}

text?.addEventListener("input", () => {
  const asked = text.value.trim().toLowerCase();
  meetings = meetings.filter((each) => `${each.sid}\n${each.name}`.toLowerCase().includes(asked));
  chosen = 0;
  byId("palette-said").textContent = "";
  draw();
  clearTimeout(timer);
  timer = setTimeout(look, PAUSE_MS);
});

text?.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  const last = shown.length - 1;
  const to = { ArrowDown: chosen === last ? 0 : chosen + 1, ArrowUp: chosen ? chosen - 1 : last, PageDown: last, PageUp: 0 }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    chosen = Math.max(0, to);
    mark();
  } else if (event.key === "Enter") {
    event.preventDefault();
    // A name that was typed quickly may be chosen before its meeting has come.
    if (answeredFor === text.value.trim()) return run(chosen);
    clearTimeout(timer);
    look().then((answered) => { if (answered) run(chosen); });
  }
});

// A click beside a dialog closes it.
for (const dialog of [palette, help]) {
  dialog?.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}

// -- shortcuts ------------------------------------------------------------------------

function keysAreOff() {
  try { return localStorage.getItem(OFF) === "yes"; } catch { return false; }
}

const isTyping = (element) => element?.closest?.("input:not([type=checkbox], [type=radio], [type=button], [type=submit]), textarea, select, [contenteditable]");

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || event.repeat) return;
  if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    return open();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || keysAreOff()) return;
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const follows = performance.now() - afterG < SEQUENCE_MS;
  afterG = -SEQUENCE_MS;
  if (follows) {
    const link = [...document.querySelectorAll("nav[aria-label=Main] a")].find((each) => each.dataset.key === event.key);
    if (link) {
      event.preventDefault();
      location.href = link.href;
    }
    return;
  }
  if (event.key === "g") afterG = performance.now();
  else if (event.key === "/") { event.preventDefault(); open(); }
  else if (event.key === "?") { event.preventDefault(); help.showModal(); }
});

function showKeys() {
  const off = keysAreOff();
  keysOn.checked = !off;
  for (const each of document.querySelectorAll("#palette-open kbd")) each.hidden = off;
}

if (palette) {
  byId("palette-open").hidden = byId("help-open").hidden = false;
  byId("palette-open").addEventListener("click", open);
  byId("help-open").addEventListener("click", () => help.showModal());
  keysOn.addEventListener("change", () => {
    try { localStorage.setItem(OFF, keysOn.checked ? "no" : "yes"); } catch { /* not kept, then */ }
    showKeys();
  });
  showKeys();
}
