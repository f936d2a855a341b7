// The operators' page works without this script, and updates live with it.

const MINUTE = 60, HOUR = 3600, DAY = 86400;
const byId = (id) => document.getElementById(id);

/** Returns a length of time in the same words as the server. */
function durationWords(seconds) {
  if (seconds < 2 * MINUTE) return `${Math.round(seconds)} s`;
  if (seconds < 2 * HOUR) return `${Math.round(seconds / MINUTE)} min`;
  if (seconds < 2 * DAY) return `${Math.round(seconds / HOUR)} h`;
  return `${Math.round(seconds / DAY)} days`;
}

function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/** Updates every <time data-at>: "3 min ago". */
function refreshTimes() {
  for (const time of document.querySelectorAll("time[data-at]")) {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    const words = durationWords(Math.abs(seconds));
    say(time, Math.abs(seconds) < 1 ? "just now" : seconds > 0 ? `${words} ago` : `in ${words}`);
  }
}

// -- the overview's contents ------------------------------------------------------

function fill(element, html) {
  if (element.innerHTML !== html) element.innerHTML = html;
}

function rowOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return template.content.firstElementChild;
}

/** Updates a row from another, cell by cell, so that a focused element keeps the focus. */
function update(row, fresh) {
  const turned = !row.classList.contains(fresh.className);
  row.className = fresh.className;
  if (turned) row.classList.add("changed");
  [...fresh.children].forEach((cell, index) => fill(row.children[index], cell.innerHTML));
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
  for (const [id, html] of Object.entries(message.parts)) fill(byId(id), html);
  const body = byId("rows");
  const rows = new Map([...body.children].map((row) => [row.dataset.sid, row]));
  for (const [sid, html] of Object.entries(message.rows)) {
    const fresh = rowOf(html);
    if (rows.has(sid)) update(rows.get(sid), fresh);
    else rows.set(sid, fresh);
  }
  arrange(body, message.order.map((sid) => rows.get(sid)));
  byId("pools").hidden = message.order.length === 0;
}

/** Returns the changes of state in words, for screen readers. */
function changesInWords(before, after) {
  const turned = Object.entries(after).filter(([sid, state]) => before[sid] && before[sid] !== state);
  const words = turned.slice(0, 3).map(([sid, state]) => `${sid} is now ${state}`);
  if (turned.length > 3) words.push(`${turned.length - 3} more changed`);
  return words.join("; ");
}

// -- staying live -----------------------------------------------------------------

class Live {
  #place = byId("live");
  #words = byId("live-words");
  #button = byId("live-pause");
  #trouble = byId("trouble");
  #source = null;
  #retry = 0;
  #tries = 0;
  #paused = false;
  #connected = false;
  #lostAt = 0; // 0: connected or closed on purpose
  #every = 2;
  #states = null;
  // The server's clock may differ from ours, so ages count from when a message arrived.
  #heardAt = performance.now();
  #openedAt = 0;
  #asOf = Number(this.#place.dataset.atMs);

  start() {
    this.#button.hidden = false;
    this.#button.addEventListener("click", () => this.#togglePause());
    document.addEventListener("visibilitychange", () => this.#turn());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", () => this.#turn());
    this.#turn();
    setInterval(() => this.#tick(), 1000);
  }

  #togglePause() {
    this.#paused = !this.#paused;
    say(this.#button, this.#paused ? "Resume" : "Pause");
    this.#turn();
  }

  /** Connects while the page is visible and not paused, and closes otherwise. */
  #turn() {
    if (document.hidden || this.#paused) {
      this.#close();
      this.#lostAt = 0;
    } else if (!this.#source) {
      this.#tries = 0;
      this.#open();
    }
    this.#tick();
  }

  #open() {
    this.#close();
    const source = this.#source = new EventSource(this.#place.dataset.stream);
    this.#openedAt = performance.now();
    source.addEventListener("message", (event) => this.#heard(JSON.parse(event.data)));
    source.addEventListener("signed-out", () => location.reload());
    source.addEventListener("stopping", () => this.#lose());
    source.addEventListener("error", () => this.#lose());
  }

  #close() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
    this.#connected = false;
  }

  #lose() {
    this.#close();
    this.#lostAt ||= performance.now();
    this.#retry = setTimeout(() => this.#open(), Math.min(8000, 500 * 2 ** this.#tries++));
    this.#tick();
  }

  #heard(message) {
    this.#heardAt = performance.now();
    this.#asOf = message.at_ms;
    this.#every = message.every_seconds;
    this.#connected = true;
    this.#lostAt = 0;
    this.#tries = 0;
    show(message);
    if (this.#states) {
      const words = changesInWords(this.#states, message.states);
      if (words) say(byId("said"), words);
    }
    this.#states = message.states;
    this.#tick();
  }

  /** Shows how old the data is, and whether it is still current. */
  #tick() {
    const now = performance.now();
    const age = (now - this.#heardAt) / 1000;
    const silent = (now - Math.max(this.#heardAt, this.#openedAt)) / 1000;
    const patience = 3 * this.#every + 4;
    if (this.#source && silent > patience) return this.#lose();
    const clock = new Date(this.#asOf).toISOString().slice(11, 19);
    const stale = this.#paused || this.#lostAt > 0 || age > patience;
    document.body.classList.toggle("stale", stale);
    this.#place.classList.toggle("on", this.#connected);
    this.#place.classList.toggle("lost", Boolean(this.#lostAt));
    this.#trouble.classList.toggle("calm", this.#paused);
    if (this.#paused) {
      say(this.#words, `paused, ${durationWords(age)} old`);
      say(this.#trouble, `Paused. The data is from ${clock} UTC.`);
    } else if (this.#lostAt) {
      say(this.#words, `disconnected, ${durationWords(age)} old`);
      // Without a running number, which screen readers would read out every second.
      say(this.#trouble, `Disconnected from linkpool. The data is from ${clock} UTC. Reconnecting.`);
    } else {
      say(this.#words, this.#connected ? `live, ${durationWords(age)} old` : `connecting, ${durationWords(age)} old`);
      say(this.#trouble, "");
    }
  }
}

refreshTimes();
setInterval(() => { if (!document.hidden) refreshTimes(); }, 1000);
if (byId("live")) new Live().start();
