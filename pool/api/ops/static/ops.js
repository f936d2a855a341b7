// The operators' page works without this script, and updates live with it.

const MINUTE = 60, HOUR = 3600, DAY = 86400;
export const byId = (id) => document.getElementById(id);

/** Returns a length of time in the same words as the server. */
function durationWords(seconds) {
  if (Math.round(seconds) < 120) return `${Math.round(seconds)} s`;
  if (Math.round(seconds / MINUTE) < 120) return `${Math.round(seconds / MINUTE)} min`;
  if (Math.round(seconds / HOUR) < 48) return `${Math.round(seconds / HOUR)} h`;
  return `${Math.round(seconds / DAY)} days`;
}

export function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function entitle(time) {
  const words = momentWords(new Date(time.dateTime));
  if (time.title !== words) time.title = words;
}

/** Updates every <time data-at>: "3 min ago". */
function refreshTimes() {
  for (const time of document.querySelectorAll("time[data-at]")) {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    const words = durationWords(Math.abs(seconds));
    say(time, Math.abs(seconds) < 1 ? "just now" : seconds > 0 ? `${words} ago` : `in ${words}`);
    entitle(time);
  }
  for (const time of document.querySelectorAll("time[data-clock]")) {
    say(time, clockWords(new Date(time.dateTime)));
    entitle(time);
  }
  for (const time of document.querySelectorAll("time[data-moment]")) say(time, momentWords(new Date(time.dateTime)));
}

/** True where a viewer asked for UTC; times are local otherwise. */
function inUtc() {
  try { return localStorage.getItem("linkpool-zone") === "UTC"; } catch { return false; } // the browser keeps nothing
}
export const zone = () => (inUtc() ? { timeZone: "UTC" } : {});

const formats = new Map();
const DAY_NUMBERS = { year: "numeric", month: "numeric", day: "numeric" };
const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" };

/** Returns a format of times in the viewer's zone. Each is kept: to make one takes a hundred times as long as to use it. */
function format(options, locale = "en-GB") {
  const name = [locale, inUtc(), new Date().getTimezoneOffset(), JSON.stringify(options)].join();
  if (!formats.has(name)) formats.set(name, Intl.DateTimeFormat(locale, { ...options, ...zone() }));
  return formats.get(name);
}

function clockWords(at) {
  const day = format(DAY_NUMBERS), clock = format(CLOCK).format(at);
  if (day.format(at) === day.format(new Date())) return clock;
  return `${format({ day: "numeric", month: "short" }).format(at)} ${clock.slice(0, 5)}`;
}

function momentWords(at) {
  const name = format({ timeZoneName: "short" }).formatToParts(at);
  const day = format(DAY_NUMBERS, "sv-SE").format(at);
  return `${day} ${format(CLOCK).format(at)} ${name.find((part) => part.type === "timeZoneName").value}`;
}

// -- the overview's contents ------------------------------------------------------

/** Replaces what an element holds. Disclosures that stand open stay so, and the focus stays on its like. */
function fill(element, html) {
  if (element.innerHTML === html) return;
  const heading = (details) => details.querySelector("summary")?.textContent;
  const opened = [...element.querySelectorAll("details[open]")].map(heading);
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const name = (each) => ["popovertarget", "href", "aria-labelledby"].map((key) => each.getAttribute(key)).find(Boolean) ?? each.textContent;
  element.innerHTML = html;
  for (const details of element.querySelectorAll("details")) details.open ||= opened.includes(heading(details));
  if (focused && focused !== element) [...element.querySelectorAll(focused.localName)].find((each) => name(each) === name(focused))?.focus({ preventScroll: true });
}

function rowOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return template.content.firstElementChild;
}

/** Updates a row from another, cell by cell, so that a focused element keeps the focus. */
function update(row, fresh) {
  row.classList.remove("changed");
  const turned = row.className !== fresh.className;
  row.className = fresh.className;
  if (turned) row.classList.add("changed");
  [...fresh.children].forEach((cell, index) => fill(row.children[index], cell.innerHTML));
}

/** Returns the order to show: while rows are being chosen none moves or leaves, new ones come last. */
function held(body, order) {
  if (!body.querySelector(".pick:checked")) return order;
  const shown = [...body.children].map((row) => row.dataset.sid);
  return [...shown, ...order.filter((sid) => !shown.includes(sid))];
}

/** Puts the rows in order, and moves as few as possible. */
function arrange(body, rows) {
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  const wanted = new Set(rows);
  for (const row of [...body.children]) if (!wanted.has(row)) row.remove();
  rows.forEach((row, index) => {
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  });
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

function show(message) {
  for (const [id, html] of Object.entries(message.parts)) {
    const part = byId(id);
    if (part) fill(part, html);
  }
  refreshTimes();
  document.dispatchEvent(new Event("linkpool-shown"));
  const body = byId("rows");
  if (!body) return;
  const rows = new Map([...body.children].map((row) => [row.dataset.sid, row]));
  for (const [sid, html] of Object.entries(message.rows)) {
    const fresh = rowOf(html);
    if (rows.has(sid)) update(rows.get(sid), fresh);
    else rows.set(sid, fresh);
  }
  arrange(body, held(body, message.order).map((sid) => rows.get(sid)));
  refreshTimes(); // at once: a time that the server wrote is in UTC
  document.dispatchEvent(new Event("linkpool-arranged"));
  (byId("pools") ?? byId("listed")).hidden = message.order.length === 0;
}

/** Shows in the tab's title and icon what is wrong; nothing while all is well. */
function sound(level, words) {
  say(document.querySelector("title"), (words ? `(${words}) ` : "") + document.body.dataset.title);
  const icon = byId("icon"), wanted = icon.dataset[level] ?? icon.dataset.ok;
  if (icon.getAttribute("href") !== wanted) icon.setAttribute("href", wanted);
}

/** Returns the changes of state in words, for screen readers. */
function changesInWords(before, after) {
  const turned = Object.entries(after).filter(([sid, state]) => before[sid] && before[sid] !== state);
  const words = turned.slice(0, 3).map(([sid, state]) => `${sid} is now ${state}`);
  if (turned.length > 3) words.push(`${turned.length - 3} more changed`);
  return words.join("; ");
}

// -- staying live -----------------------------------------------------------------

// A page hears from linkpool every second. Silence for longer than this means that something is
// wrong, and nothing on the page may be taken for the present.
const PATIENCE_MS = 2500;
const UNSEEN_PATIENCE_MS = 8000; // of a page that nobody sees: its hub says sooner if nothing is heard
const BLINK_MS = 1500; // a loss that was shorter needs no words: a process was replaced
const RELOAD_MS = 2000; // at most so often a page without all it shows is asked for again
const BACK_SHOWN_MS = 60_000;

class Live {
  #place = byId("live");
  #words = byId("live-words");
  #button = byId("live-pause");
  #trouble = byId("trouble");
  #back = byId("back");
  #channel;
  #joined = false;
  #gone = false; // the page was left, and may come back by the browser's way back
  #unseen = false; // nobody sees the page: only its title and its icon are kept true
  #paused = false;
  #connected = false;
  #met = false; // true once it was connected
  #lostAt = 0; // 0: connected, or not wanting to be
  #signedOut = false;
  #stale = false;
  #alarm = null;
  #states = null;
  // The server's clock may differ from ours, so ages count from when a message arrived.
  #heardAt = performance.now();
  #shownAt = performance.now();
  #joinedAt = 0;
  #asOf = Number(this.#place.dataset.atMs);

  constructor(Channel) {
    this.#channel = new Channel(this.#place.dataset, {
      heard: (data) => this.#heard(JSON.parse(data)),
      lost: () => this.#lose(),
      left: () => this.#part(),
      signedOut: () => this.#leave(),
    });
  }

  start() {
    if (this.#button) {
      this.#button.hidden = false;
      this.#button.addEventListener("click", () => this.#togglePause());
    }
    document.addEventListener("visibilitychange", () => this.#turn());
    addEventListener("pagehide", () => { this.#gone = true; this.#part(); });
    addEventListener("pageshow", () => { this.#gone = false; this.#turn(); });
    this.#turn();
    setInterval(() => this.#tick(), 250);
  }

  #togglePause() {
    this.#paused = !this.#paused;
    say(this.#button, this.#paused ? "Resume updates" : "Pause updates");
    this.#turn();
  }

  /** Listens unless it is paused; while nobody sees the page, to what its title needs. */
  #turn() {
    if (this.#gone || this.#paused || this.#signedOut) {
      this.#part();
      this.#lostAt = 0;
    } else if (!this.#joined || this.#unseen !== document.hidden) {
      this.#unseen = document.hidden;
      this.#joined = true;
      this.#connected = false;
      this.#joinedAt = performance.now();
      this.#channel.join(this.#unseen);
    }
    this.#tick();
  }

  #part() {
    this.#channel.leave();
    this.#joined = this.#connected = false;
  }

  #lose() {
    this.#connected = false;
    this.#lostAt ||= Math.max(this.#heardAt, performance.now() - PATIENCE_MS);
    this.#tick();
  }

  /** Leads to the sign-in, unless that would lose what somebody has typed. */
  #leave() {
    this.#part();
    if (!typed) return location.reload();
    this.#signedOut = true;
    this.#turn();
  }

  #heard(message) {
    if (!this.#joined) return; // it was on its way
    if (this.#met && this.#lostAt && performance.now() - this.#lostAt > BLINK_MS) this.#sayBack((performance.now() - this.#lostAt) / 1000);
    this.#heardAt = performance.now();
    this.#met = true;
    this.#lostAt = 0;
    this.#stale = message.stale;
    this.#alarm = message.alarm;
    // What else comes to a page that nobody sees was on its way; all of it comes again.
    if (!message.quiet && !this.#unseen) this.#show(message);
    this.#tick();
    // What a page lacks is shown as soon as the part that has it answers.
    const missing = document.querySelector("[data-reload]")?.dataset.reload;
    if (missing && !message.silent.includes(missing) && !typed && performance.now() > RELOAD_MS) location.reload();
  }

  #show(message) {
    this.#shownAt = performance.now();
    this.#asOf = message.at_ms;
    this.#connected = true;
    show(message);
    if (this.#states) {
      const words = changesInWords(this.#states, message.states);
      if (words) say(byId("said"), words);
    }
    this.#states = message.states;
  }

  #sayBack(seconds) {
    say(this.#back, `Connected again at ${clockWords(new Date())}, after ${durationWords(seconds)} without contact. History shows what visitors got meanwhile; those whom no process of linkpool answered are not counted.`);
    setTimeout(() => say(this.#back, ""), BACK_SHOWN_MS);
  }

  /** Shows how old the data is, and whether it is still current. */
  #tick() {
    const now = performance.now();
    const age = (now - this.#shownAt) / 1000;
    const silent = now - Math.max(this.#heardAt, this.#joinedAt);
    if (this.#joined && silent > (this.#unseen ? UNSEEN_PATIENCE_MS : PATIENCE_MS) && !this.#lostAt) {
      this.#lostAt = now - silent;
      this.#channel.ask();
    }
    const clock = clockWords(new Date(this.#asOf));
    const dead = this.#paused || this.#signedOut || this.#lostAt > 0;
    document.body.classList.toggle("stale", dead || this.#stale);
    this.#place.classList.toggle("on", this.#connected && !this.#lostAt);
    this.#place.classList.toggle("lost", Boolean(this.#lostAt || this.#signedOut));
    this.#trouble.classList.toggle("calm", this.#paused);
    if (this.#signedOut) {
      say(this.#words, "signed out");
      say(this.#trouble, `You are signed out. What you typed is still here: send it, sign in when you are asked to, and it is filled in again. The data is from ${clock}.`);
      sound("bad", "signed out");
    } else if (this.#paused) {
      say(this.#words, `paused, ${durationWords(age)} old`);
      say(this.#trouble, `Paused. The data is from ${clock}.`);
      sound("ok", "paused");
    } else if (this.#lostAt) {
      say(this.#words, `disconnected, ${durationWords(age)} old`);
      // Without a running number, which screen readers would read out every second.
      say(this.#trouble, `Disconnected from linkpool. The data is from ${clock}. Reconnecting.`);
      sound("bad", "no contact");
    } else {
      say(this.#words, this.#connected ? "live" : `connecting, ${durationWords(age)} old`);
      say(this.#trouble, "");
      if (this.#alarm) sound(this.#alarm.level, this.#alarm.words);
    }
  }
}

let typed = false;
addEventListener("input", (event) => { typed ||= Boolean(event.target.closest("form[method=post]")); });

refreshTimes();
setInterval(() => { if (!document.hidden) refreshTimes(); }, 1000);
if (byId("live")) {
  import(byId("live").dataset.channel).then(({ Channel }) => new Live(Channel).start(), () => {
    document.body.classList.add("stale");
    say(byId("trouble"), "This page could not connect to linkpool, so it stays as it is. Reload it.");
  });
}
