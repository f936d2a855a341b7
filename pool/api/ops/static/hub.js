// Keeps one stream of server-sent events for all open pages of a browser, as a shared worker; a
// browser opens no more than six connections to a server, so a stream for each page would leave
// the others waiting. Where there are no shared workers each page runs this for itself.
//
// A page says every few seconds what it wants: { stream, query }, the address and the view, which is
// QUIET while nobody sees the page; or { leave: true }. It hears { heard } (an event's data), { lost }
// or { signedOut }; and at once, in answer to what it says, { here }, or { alone } if it has to run
// this for itself.

const QUIET = "view=quiet"; // part of every stream, so that hiding a page opens no new one
// A browser holds up the timers of pages that nobody sees, but not ours, nor messages to them. So
// this tells all pages that nothing is heard any more.
const DOUBT_MS = 4000;
const RECONNECT_MS = 8000; // after which a silent connection is opened anew
const GONE_MS = 30_000; // a page that has said nothing for so long is gone, without a word
const SETTLE_MS = 3000; // in which a page that left may have come back as another
// An address has at most 8 KiB and 64 fields; pages beyond are sent away to streams of their own.
const LONGEST = 6000, MOST = 50;

const pages = new Map(); // port → { query, at }
let address = ""; // of the stream, without a query
let opened = []; // the queries of the stream
let source = null;
let tries = 0, due = 0, doubt = 0, silence = 0, tidying = 0;

const tell = (message) => { for (const port of pages.keys()) port.postMessage(message); };

const fields = (queries) => queries.map((query) => `of=${encodeURIComponent(query)}`).join("&");

/** Returns the queries that pages want now, each once, as many as one stream may have. */
function wanted() {
  const found = [QUIET];
  for (const { query } of pages.values()) {
    const more = [...found, query];
    const fits = more.length <= MOST && fields(more).length < LONGEST;
    if (!found.includes(query) && (fits || found.length === 1)) found.push(query);
  }
  return found;
}

function close() {
  for (const each of [due, doubt, silence]) clearTimeout(each);
  source?.close();
  source = null;
  due = 0;
}

/** Opens the stream that all pages need, in a moment: several may come at once. */
function openSoon(ms = 20) {
  clearTimeout(due);
  due = setTimeout(open, ms);
}

function open() {
  close();
  if (!pages.size) return;
  opened = wanted();
  source = new EventSource(`${address}?${fields(opened)}`);
  const to = (event, message) => {
    const query = opened[Number(event.lastEventId)];
    for (const [port, page] of pages) if (page.query === query) port.postMessage(message);
  };
  listen();
  source.addEventListener("message", (event) => {
    tries = 0;
    listen();
    tidySoon();
    to(event, { heard: event.data });
  });
  source.addEventListener("refused", (event) => to(event, { signedOut: true }));
  source.addEventListener("signed-out", () => {
    close();
    tell({ signedOut: true });
    pages.clear();
  });
  source.addEventListener("again", () => open());
  for (const end of ["stopping", "error"]) source.addEventListener(end, lose);
}

/** Gives up on a connection that is silent for long. */
function listen() {
  for (const each of [doubt, silence]) clearTimeout(each);
  doubt = setTimeout(() => tell({ lost: true }), DOUBT_MS);
  silence = setTimeout(lose, RECONNECT_MS);
}

function lose() {
  close();
  tell({ lost: true });
  openSoon(Math.min(2000, 500 * 2 ** tries++));
}

function tidySoon() {
  tidying ||= setTimeout(tidy, SETTLE_MS);
}

/** Ends what no page wants any more. */
function tidy() {
  tidying = 0;
  for (const [port, page] of pages) if (performance.now() - page.at > GONE_MS) pages.delete(port);
  if (!pages.size) close();
  else if (source && opened.join() !== wanted().join()) openSoon();
}

/** Serves a page that speaks through this port. */
export function serve(port) {
  port.onmessage = ({ data }) => {
    if (data.leave) {
      pages.delete(port);
      if (!pages.size) close();
    }
    tidySoon();
    if (data.leave) return;
    port.postMessage({ here: true });
    const known = pages.get(port);
    address = data.stream;
    pages.set(port, { query: data.query, at: performance.now() });
    if (!wanted().includes(data.query)) {
      pages.delete(port);
      return port.postMessage({ alone: true });
    }
    const isNew = known?.query !== data.query && data.query !== QUIET;
    if (isNew || !(source || due)) openSoon();
  };
}

if ("SharedWorkerGlobalScope" in globalThis) globalThis.onconnect = ({ ports: [port] }) => serve(port);
