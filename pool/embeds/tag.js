// <linkpool-embed> shows each visitor a booking link of their own, claimed when it comes near.
// Works as <script async src data-meeting data-token>, and by import: docs/embeds.md, "One tag".
// It is served without these comments, line breaks and the spaces beside "=" and the like (see
// tag.py): end statements by semicolons, and let no text have such a space.
(() => {
  const NAME = "linkpool-embed";
  // No other script is ever loaded, whatever an answer names. The server writes its own in here.
  const SCRIPTS = ["https://cdn.neetocal.com/javascript/embed.js"];
  const WAITS = 3, PATIENCE_MS = 1e4, FRAMES = 9, LOOKS = 5;
  const TYPES = { "element-click": "elementClick", "floating-popup": "floatingPopup" };
  const TEXTS = {
    loading: "Loading…",
    waiting: "One moment…",
    frame: "Calendar",
  };

  const own = document.currentScript;
  // A module has no currentScript, and import.meta would be an error in a classic script.
  const ADDRESS = /https?:[^\s()]+?(?=\/embed(\/\w+)?\.js)/;
  const API = (own?.src || Error().stack).match(ADDRESS)?.[0] || "";

  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const moment = ({ starts_at, ends_at } = {}) => ({ starts_at, ends_at });
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const attempt = (act) => {
    try {
      return act();
    } catch {}
  };
  const web = (url) =>
    url && attempt(() => new URL(url, document.baseURI).href.match(/^https?:.*/)[0]) || "";

  // Each once for the page, however many embeds.
  const scripts = {};
  const provider = (src, nonce) =>
    scripts[src] ||= new Promise((onload, reject) => {
      // After an error, a later embed tries again.
      const onerror = () => reject(delete scripts[src]);
      if (!SCRIPTS.includes(src)) reject();
      else if (window.neetoCal) onload();
      else document.head.append(make("script", { src, nonce, onload, onerror }));
    });

  const asking = {};
  const ask = (api, who) => {
    // As text/plain it needs no preflight. The same question at the same time is one request.
    const body = JSON.stringify(who), key = api + body, signal = AbortSignal.timeout(PATIENCE_MS);
    return asking[key] ||= (async () => {
      try {
        const options = { method: "POST", credentials: "omit", body, signal };
        const reply = await fetch(api + "/v1/embed/claims", options);
        const { ok, status } = reply;
        const wait = /^5|429/.test(status) && (+reply.headers.get("Retry-After") || 2);
        return { ...(await reply.json()), ok, status, wait };
      } catch {
        return { wait: 2 };
      } finally {
        delete asking[key];
      }
    })();
  };

  // Where the site may not store anything.
  const kept = {};
  const askAsVisitor = (api, public_key) => {
    const name = "linkpool:" + public_key;
    const recall = () => attempt(() => localStorage[name]) || kept[name];
    const once = async () => {
      const answer = await ask(api, { public_key, visitor: recall() });
      kept[name] = answer.visitor || kept[name];
      if (kept[name]) attempt(() => (localStorage[name] = kept[name]));
      return answer;
    };
    if (recall() || !navigator.locks) return once();
    // Tabs that open together ask one after the other; what one stores, others see a bit later.
    return new Promise((done) => {
      const inTurn = async () => pause(300, done(await once()));
      navigator.locks.request(name, inTurn).catch(() => done(once()));
    });
  };

  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    :host { display: block }
    [part=box], [part=base], [part=status] { display: grid }
    :host(:not([type*="-"])) [part=box] { min-height: var(--linkpool-height, 44rem) }
    [hidden] { display: none !important }
    [part=box] > *, [part=base] > *, ::slotted([slot=frame]) { grid-area: 1/1; min-width: 0 }
    [part=skeleton] { background: var(--linkpool-skeleton, #8882) }
    [part=button] { place-self: center }
    [part=status] { align-content: center; text-align: center }
    button { font: inherit }`);
  const SHADOW = `
    <div part=box>
    <div part=base>
    <div part=skeleton></div>
    <slot name=frame></slot>
    <button part=button>Choose a time</button></div>
    <div part=status role=status>
    <div part=note></div>
    <div part=booked tabindex=-1><slot name=booked>You are booked.</slot>
    <p part=time></p><a part=manage target=_blank>Change or cancel</a></div>
    <div part=unavailable tabindex=-1>
    <slot name=unavailable>The calendar cannot be shown right now.</slot>
    <p><slot></slot> <a part=link target=_blank>Open the booking page</a></p>
    <button part=retry>Try again</button></div></div></div>`;

  let count = 0;

  customElements.get(NAME) || customElements.define(NAME, class extends HTMLElement {
    static observedAttributes = ["api", "meeting", "token", "public-key", "load", "type"];
    #parts = {}; #run; #due; #asked; #focus; #place; #strays = [];

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" }), parts = this.#parts;
      root.adoptedStyleSheets = [sheet];
      root.innerHTML = SHADOW;
      for (const each of root.querySelectorAll("[part]")) parts[each.part] = each;
      parts.button.onclick = parts.retry.onclick = () => {
        this.#focus = true;
        this.load();
      };
    }

    connectedCallback() {
      this.#restart();
    }
    disconnectedCallback() {
      this.#restart();
    }
    attributeChangedCallback() {
      this.#restart();
    }
    // element.load() claims and shows now. Frameworks assign the attribute to it: take both.
    get load() {
      return () => {
        this.#asked = true;
        this.#restart();
      };
    }
    set load(when) {
      this.setAttribute("load", when);
    }

    #given(name) {
      return this.getAttribute(name);
    }

    #say(name, detail) {
      const options = { bubbles: true, composed: true };
      options.detail = { meeting: this.#given("meeting"), ...detail };
      this.dispatchEvent(new CustomEvent("linkpool:" + name, options));
    }

    #show(state) {
      const parts = this.#parts, frame = this.#place?.firstElementChild;
      const busy = /ing$/.test(state), done = /^(r|boo|un)/.test(state);
      const text = (name) => this.#given("text-" + name) || TEXTS[name];
      this.dataset.state = state;
      parts.base.ariaBusy = busy;
      parts.skeleton.hidden = done;
      for (const name of ["button", "booked", "unavailable"]) parts[name].hidden = name !== state;
      for (const name in parts)
        if (text(name)) (parts[name].firstElementChild || parts[name]).textContent = text(name);
      parts.note.textContent = busy ? text(state) : "";
      // It lies over the frame and the button.
      parts.status.inert = /^(r|bu)/.test(state);
      if (frame) frame.title ||= text("frame");
      if (done) this.#focus &&= (parts[state] || frame)?.focus();
    }

    // Moving, setting several attributes and mounting twice, in one task, is one start.
    #restart() {
      this.#run?.abort();
      this.#run = null;
      this.#due ||= queueMicrotask(() => this.#start()) || 1;
    }

    #start() {
      this.#due = 0;
      const { signal } = (this.#run = new AbortController());
      this.#focus ||= this.querySelector(":focus");
      for (const each of [this.#place, ...this.#strays]) each?.remove();
      if (!this.isConnected) return;
      // Out of the back/forward cache comes an old DOM.
      addEventListener("pageshow", (event) => {
        if (event.persisted && this.#asked) this.#restart();
      }, { signal });
      const load = this.#asked ? "now" : this.#given("load") || "visible";
      const token = this.#given("token"), key = this.#given("public-key");
      const api = this.#given("api") || API;
      const go = () => this.#go(signal, () => token ? ask(api, { token }) : askAsVisitor(api, key));
      this.#show(load === "click" ? "button" : "idle");
      // A page that is only drawn ahead may never be looked at.
      if (document.prerendering)
        return document.addEventListener("prerenderingchange", () => this.#restart(), { signal });
      if (!token && !key) return;
      if (load === "now") go();
      // What nobody knows is a slip, and no reason to show nothing for ever.
      if (/^(click|manual|now)$/.test(load)) return;
      const box = () => this.getBoundingClientRect(), top = () => box().y;
      let timer, frames, was = top();
      // In sight as a painted page opens, and nobody scrolls: an observer says so a frame later.
      if (document.readyState !== "complete" && performance.getEntriesByType("paint")[0])
        if (!scrollY && document.elementFromPoint(box().x + 1, was + 1) === this) return go();
      // What stands still in sight is shown at once; what is scrolled past fast, never.
      const look = () => {
        if (was === (was = top()) || !frames--) go(end());
        else timer = requestAnimationFrame(look);
      };
      const observer = new IntersectionObserver((entries) => {
        cancelAnimationFrame(timer);
        frames = FRAMES;
        if (entries.at(-1).isIntersecting) look();
      }, { rootMargin: "250px" });
      const end = () => observer.disconnect(cancelAnimationFrame(timer));
      observer.observe(this);
      signal.onabort = end;
    }

    async #go(signal, claim) {
      this.#asked = true;
      const nonce = this.nonce || own?.nonce;
      // The claim is sent first; what else there is to do happens while it is under way.
      let answer = claim();
      provider(SCRIPTS[0], nonce).catch(() => {});
      this.#show("loading");
      answer = await answer;
      for (let waits = 0; !answer.ok && !signal.aborted; waits++) {
        if (!answer.wait || waits === WAITS) return this.#unavailable(answer, "unreachable");
        this.#show("waiting");
        // Not everybody at once.
        await pause(answer.wait * (1e3 + Math.random() * 200));
        if (!signal.aborted) answer = await claim();
      }
      if (signal.aborted) return;
      const { state, booking, script } = answer;
      this.#say("claimed", { state });
      if (state === "consumed") return this.#booked(booking);
      try {
        await provider(script || SCRIPTS[0], nonce);
        if (!signal.aborted) this.#frame(signal, claim, answer);
      } catch {
        if (!signal.aborted) this.#unavailable(answer, "script-blocked");
      }
    }

    #frame(signal, claim, answer) {
      const id = NAME + ++count, type = TYPES[this.#given("type")], queryParams = {};
      for (const { name, value } of this.attributes)
        if (name.startsWith("prefill-")) queryParams[name.slice(8)] = value;
      // In the page, not in the shadow: the provider's script finds it by a selector.
      const place = (this.#place = make(type === "elementClick" ? "button" : "div", { id }));
      place.slot = "frame";
      if (type === "elementClick") place.textContent = this.#parts.button.textContent;
      this.append(place);
      const observer = new MutationObserver(() => {
        const frame = place.querySelector("iframe");
        if (!frame) return;
        end();
        this.#say("ready");
        this.#watch(signal, claim, answer, frame);
      });
      const timer = setTimeout(() => this.#unavailable(answer, "no-frame"), PATIENCE_MS);
      const end = () => observer.disconnect(clearTimeout(timer));
      signal.onabort = end;
      observer.observe(place, { childList: true, subtree: true });
      const before = [...document.body.children], { embed } = answer;
      Object.assign(queryParams, embed.queryParams);
      const elementSelector = "#" + id;
      window.neetoCal.embed({ ...embed, ...(type && { type }), elementSelector, queryParams });
      this.#strays = [...document.body.children].filter((each) => !before.includes(each));
      if (!type) return;
      end();
      this.#show("ready");
      this.#say("ready");
    }

    // The provider does not say that it booked. When its frame stirs, ask; its page stays shown.
    #watch(signal, claim, { url }, frame) {
      let timer, booked, loads = 0;
      const look = async (looks) => {
        const answer = !signal.aborted && (await claim());
        if (booked || signal.aborted) return;
        booked = answer.state === "consumed" || (answer.ok && answer.url !== url);
        if (booked) this.#say("booked", moment(answer.booking));
        else if (looks < LOOKS) timer = setTimeout(look, 2e3, looks + 1);
      };
      frame.addEventListener("load", () => {
        clearTimeout(timer);
        if (loads++) timer = setTimeout(look, 1e3, 1);
        else this.#show("ready");
      });
    }

    #booked(booking = {}) {
      const { time, manage } = this.#parts, { starts_at, time_zone: timeZone } = booking;
      manage.hidden = !(manage.href = web(booking.manage_url));
      const lang = this.closest("[lang]")?.lang || [];
      const options = { dateStyle: "full", timeStyle: "short", timeZone };
      time.textContent = starts_at &&
        attempt(() => new Date(starts_at).toLocaleString(lang, options));
      this.#show("booked");
      this.#say("booked", moment(booking));
    }

    #unavailable({ type, status, url, fallback_url }, reason) {
      const { link, retry } = this.#parts;
      const href = web(url) || web(fallback_url) || web(this.#given("fallback-url"));
      retry.hidden = href;
      link.hidden = !(link.href = href);
      this.#place?.remove();
      this.#show("unavailable");
      this.#say("unavailable", { reason: type?.split("/").pop() || reason, status });
    }
  });

  const { token, publicKey, template } = own?.dataset || {};
  if (token || publicKey) {
    // Space that the page reserved by the tag's own class or style stays reserved.
    const { className, nonce, style } = own;
    const element = make(NAME, { className, nonce, style: style.cssText });
    for (const { name, value } of own.attributes)
      // Some names are none without their beginning: data-1p-ignore.
      if (name.startsWith("data-")) attempt(() => element.setAttribute(name.slice(5), value));
    const texts = document.getElementById(template)?.content;
    if (texts) element.append(texts.cloneNode(true));
    own.replaceWith(element);
  }
})();
