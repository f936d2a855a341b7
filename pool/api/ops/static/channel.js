// Connects a page with the stream that all pages of its browser share: see hub.js.

const AGAIN_MS = 5000; // how often a page says that it is there
const ANSWER_MS = 3000; // in which a hub answers; else it has died, as with the page that began it
const QUIET = "view=quiet"; // instead of a page's view, while nobody sees the page
const MISSES = 3; // answers in a row, after which a page has a stream of its own

export class Channel {
  #hub;
  #view;
  #wish;
  #hear;
  #port = null;
  #asking = 0;
  #waiting = 0;
  #misses = 0;
  #askedAt = 0;
  #isShared = true;

  /** `data` names the stream and the hub; `hear` has heard(data), lost(), left() and signedOut(). */
  constructor(data, hear) {
    const [stream, query = ""] = data.stream.split("?");
    this.#view = query;
    this.#wish = { stream, query };
    this.#hub = data.hub;
    this.#hear = hear;
  }

  /** Asks for what this page shows, until it leaves; `quietly` for what its title needs. */
  join(quietly) {
    this.#wish = { ...this.#wish, query: quietly ? QUIET : this.#view };
    this.#asking ||= setInterval(() => this.ask(), AGAIN_MS);
    this.ask();
  }

  leave() {
    clearInterval(this.#asking);
    this.#asking = 0;
    this.#drop();
  }

  /** Asks now. A hub that does not answer is replaced. */
  ask() {
    this.#port ??= this.#connect();
    if (this.#wish.query === QUIET && !this.#isShared) {
      // Each page that nobody sees would take one of the browser's few connections to the server.
      this.leave();
      return this.#hear.left();
    }
    this.#askedAt = performance.now();
    this.#port.postMessage(this.#wish);
    this.#waiting ||= setTimeout(() => {
      this.#misses++;
      this.#drop();
      this.ask();
    }, ANSWER_MS);
  }

  #drop() {
    clearTimeout(this.#waiting);
    this.#waiting = 0;
    if (!this.#port) return;
    this.#port.postMessage({ leave: true });
    this.#port.onmessage = null;
    this.#port = null;
  }

  #connect() {
    const shared = this.#misses < MISSES && this.#shared();
    this.#isShared = Boolean(shared);
    const port = shared || this.#own();
    port.onmessage = ({ data }) => {
      // Timers of a page that nobody sees may run but once a minute; messages come on time.
      if (!data.here && performance.now() - this.#askedAt > AGAIN_MS) this.ask();
      if (data.here) {
        clearTimeout(this.#waiting);
        this.#waiting = this.#misses = 0;
      } else if (data.alone) {
        this.#misses = MISSES;
        this.#drop();
        this.ask();
      } else if (data.lost) this.#hear.lost();
      else if (data.signedOut) this.#hear.signedOut();
      else this.#hear.heard(data.heard);
    };
    return port;
  }

  /** Returns a port to the hub of all pages, null where there can be none. */
  #shared() {
    try {
      return new SharedWorker(this.#hub, { type: "module", name: "linkpool" }).port;
    } catch {
      return null;
    }
  }

  /** Returns a port to a hub of this page's own. */
  #own() {
    const { port1, port2 } = new MessageChannel();
    import(this.#hub).then(({ serve }) => serve(port2));
    return port1;
  }
}
