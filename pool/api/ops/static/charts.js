// Reads out charts by mouse and keyboard, with one crosshair over all, and shows their times in the
// viewer's time zone. Without this script a chart has its times in UTC, and its values as titles.

const byId = (id) => document.getElementById(id);
const utc = () => localStorage.getItem("linkpool-zone") === "UTC";
const zone = () => (utc() ? { timeZone: "UTC" } : {});
const SVG = "http://www.w3.org/2000/svg";

let crossAt = null; // seconds since 1970 of the stretch that is read out

const charts = () => [...document.querySelectorAll(".chart")];
const spotsOf = (chart) => [...chart.querySelectorAll(".spot")];
const at = (element) => Number(element.dataset.at);

const formats = new Map();

/** Returns a time in the viewer's zone. Formats are kept: to make one takes a hundred times as long as to use it. */
function inZone(time, options) {
  const name = [utc(), time.getTimezoneOffset(), JSON.stringify(options)].join();
  if (!formats.has(name)) formats.set(name, Intl.DateTimeFormat("en-GB", { ...options, ...zone() }));
  return formats.get(name).format(time);
}

/** Returns the label of an axis in the viewer's time zone, in the form the server chose. */
function label(seconds, form) {
  const time = new Date(seconds * 1000);
  if (/^\d\d:\d\d$/.test(form)) return inZone(time, { hour: "2-digit", minute: "2-digit" });
  const part = (options) => inZone(time, options);
  if (/^[A-Z]/.test(form)) return `${part({ weekday: "short" })} ${part({ day: "numeric" })}`;
  return `${part({ day: "numeric" })} ${part({ month: "short" })}`;
}

function localise() {
  for (const text of document.querySelectorAll(".chart text.across")) {
    text.dataset.form ??= text.textContent;
    const words = label(at(text), text.dataset.form);
    if (text.textContent !== words) text.textContent = words;
  }
  const button = byId("zone");
  if (!button) return;
  button.hidden = false;
  button.textContent = utc() ? "Times are UTC; show local" : "Times are local; show UTC";
}

/** Returns the spot of a chart that holds a moment, or the last before it. */
function spotAt(chart, seconds) {
  return spotsOf(chart).filter((spot) => at(spot) <= seconds).at(-1);
}

function words(chart, spot) {
  const time = new Date(at(spot) * 1000);
  const clock = inZone(time, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const left = Number(spot.getAttribute("x")), right = left + Number(spot.getAttribute("width"));
  const incidents = [...chart.querySelectorAll(".incident")].filter((mark) => {
    const begin = Number(mark.getAttribute("x"));
    return begin < right && begin + Number(mark.getAttribute("width")) > left;
  });
  return [`${clock}: ${spot.dataset.values}`, ...incidents.map((mark) => mark.textContent)].join(" · ");
}

/** Shows the crosshair and the values of that moment on every chart; null: none. */
function read(seconds) {
  crossAt = seconds;
  for (const chart of charts()) {
    const said = chart.querySelector(".said"), spot = seconds === null ? null : spotAt(chart, seconds);
    said.dataset.plain ??= said.textContent;
    const text = spot ? words(chart, spot) : said.dataset.plain;
    if (said.textContent !== text) said.textContent = text;
    let cross = chart.querySelector(".cross");
    if (!spot) {
      cross?.remove();
      continue;
    }
    if (!cross) {
      cross = document.createElementNS(SVG, "line");
      cross.setAttribute("class", "cross");
      cross.setAttribute("y1", "0");
      cross.setAttribute("y2", "100");
      spot.parentNode.append(cross);
    }
    const x = Number(spot.getAttribute("x")) + Number(spot.getAttribute("width")) / 2;
    cross.setAttribute("x1", x);
    cross.setAttribute("x2", x);
  }
}

addEventListener("pointerover", (event) => {
  const spot = event.target.closest?.(".spot, .incident");
  if (spot?.matches(".spot")) read(at(spot));
  else if (!spot && !event.target.closest?.(".chart") && crossAt !== null && !document.activeElement?.matches(".chart")) read(null);
});

addEventListener("keydown", (event) => {
  const chart = document.activeElement;
  if (!chart?.matches?.(".chart") || event.ctrlKey || event.metaKey || event.altKey) return;
  const spots = spotsOf(chart);
  if (!spots.length) return;
  const here = crossAt === null ? spots.length : spots.indexOf(spotAt(chart, crossAt));
  const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
  if (event.key === "Escape") return read(null);
  const index = event.key === "Home" ? 0 : event.key === "End" ? spots.length - 1 : here + (step ?? NaN);
  if (Number.isNaN(index)) return;
  event.preventDefault();
  read(at(spots[Math.max(0, Math.min(spots.length - 1, index))]));
  const status = byId("said");
  if (status) status.textContent = chart.querySelector(".said").textContent;
});

addEventListener("focusout", (event) => { if (event.target.matches?.(".chart")) read(null); });

document.addEventListener("linkpool-shown", () => {
  localise();
  if (crossAt !== null) read(crossAt);
});

byId("zone")?.addEventListener("click", () => {
  localStorage.setItem("linkpool-zone", utc() ? "local" : "UTC");
  localise();
  if (crossAt !== null) read(crossAt);
});
localise();
