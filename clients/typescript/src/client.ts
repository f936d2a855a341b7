/** The client: each method is one call to linkpool. */

import * as answers from "./answers.js";
import type { Answer } from "./answers.js";
import type { ProblemBody } from "./errors.js";
import type {
  BatchResult,
  Claim,
  Claimed,
  EmbedOptions,
  EmbedType,
  LinkWithHistory,
  Token,
} from "./models.js";
import { Attempts, DEFAULT_RETRIES } from "./retries.js";
import type { Retries } from "./retries.js";

/** As many customers does linkpool take in one batch. */
export const BATCH_SIZE = 1000;

/** What linkpool is to keep with a customer. */
export interface Customer {
  email?: string;
  metadata?: Record<string, unknown>;
}

export interface Options {
  /** How long one attempt may take; `retries` bounds a whole call. */
  timeoutMs?: number;
  retries?: Partial<Retries>;
  /** A fetch of your own, for proxies or tests. */
  fetch?: typeof fetch;
}

interface Call<T> {
  method: "GET" | "POST" | "DELETE";
  path: string;
  read: (answer: Answer) => T;
  body?: object;
  /** False if each repeat would do something more. */
  repeatable?: boolean;
}

/** Speak to a linkpool, from a server: the key is not for browsers. */
export class Linkpool {
  readonly #url: string;
  readonly #key: string;
  readonly #timeoutMs: number;
  readonly #retries: Retries;
  readonly #fetch: typeof fetch;

  constructor(url: string, key: string, options: Options = {}) {
    if (!/^https?:\/\/[^/?#\s]+(\/[^?#\s]*)?$/.test(url))
      throw new RangeError(`${url} is no address of a linkpool; use https://links.example.com`);
    if (!/^[!-~]+$/.test(key))
      throw new RangeError("the key is empty or holds spaces, line ends or other letters");
    this.#url = url.replace(/\/+$/, "");
    this.#key = key;
    this.#timeoutMs = options.timeoutMs ?? 5000;
    this.#retries = { ...DEFAULT_RETRIES, ...options.retries };
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  /**
   * Claim a link for a customer: the one they hold, or a fresh one. With `embed` the answer has the
   * code to paste into the page, as `embed_html`; `prefill` fills in the booking form by field code
   * and is not kept, `nonce` and the other options are those of docs/embeds.md.
   */
  async claim(
    meeting: string,
    customerId: string,
    { embed, ...more }: Customer & ({ embed?: undefined } | ({ embed: EmbedType } & EmbedOptions)) = {},
  ): Promise<Claimed> {
    const fields: (keyof Claimed)[] = ["claim", "reused", "embed"];
    if (embed) fields.push("embed_html");
    return this.#send<Claimed>({
      method: "POST",
      path: `${ofMeeting(meeting)}/claims${embed ? `?embed=${embed}` : ""}`,
      body: { customer_id: customerId, ...more },
      read: (answer) => answers.object<Claimed>(answer, ...fields),
    });
  }

  /** Return the link that a customer holds; throw UnknownClaim if there is none. */
  async get(meeting: string, customerId: string): Promise<Claim> {
    return this.#send({ method: "GET", path: ofClaim(meeting, customerId), read: claimOf });
  }

  /** Erase a customer. Throw StillErasing if that takes longer; repeat the call then. */
  async forget(meeting: string, customerId: string): Promise<void> {
    const path = ofClaim(meeting, customerId);
    return this.#send({ method: "DELETE", path, read: () => undefined });
  }

  /**
   * Give a customer a fresh link instead of one that does not work, named by its slug. Without the
   * slug the call is repeated only where linkpool surely did nothing: each repeat would spend a
   * link. Throw NotReplaceable if the link is booked.
   */
  async replace(
    meeting: string,
    customerId: string,
    reason: string,
    { slug }: { slug?: string } = {},
  ): Promise<Claim> {
    const path = `${ofClaim(meeting, customerId)}/replace`;
    const body = slug === undefined ? { reason } : { reason, slug };
    const repeatable = slug !== undefined;
    return this.#send({ method: "POST", path, body, read: claimOf, repeatable });
  }

  /**
   * Claim for many customers; return one result for each, in their order. After an error call it
   * again with the same customers: who holds a link keeps it.
   */
  async claimBatch(
    meeting: string,
    customers: readonly (string | (Customer & { customerId: string }))[],
  ): Promise<BatchResult[]> {
    const results: BatchResult[] = [];
    for (let start = 0; start < customers.length; start += BATCH_SIZE) {
      const claims = customers.slice(start, start + BATCH_SIZE).map((each) => {
        const { customerId, ...more } = typeof each === "string" ? { customerId: each } : each;
        return { customer_id: customerId, ...more };
      });
      const piece = await this.#send({
        method: "POST",
        path: `${ofMeeting(meeting)}/claims:batch`,
        body: { claims },
        read: (answer) => resultsOf(answer, claims.map((each) => each.customer_id)),
      });
      results.push(...piece);
    }
    return results;
  }

  /**
   * Return a token with which a browser claims for this meeting and customer; `signToken` makes one
   * without asking.
   */
  async token(
    meeting: string,
    customerId: string,
    { email, expiresInSeconds }: { email?: string; expiresInSeconds?: number } = {},
  ): Promise<Token> {
    return this.#send({
      method: "POST",
      path: "/v1/tokens",
      body: {
        meeting_sid: meeting,
        customer_id: customerId,
        ...(email !== undefined && { email }),
        ...(expiresInSeconds !== undefined && { expires_in_seconds: expiresInSeconds }),
      },
      read: (answer) => answers.object<Token>(answer, "token", "expires_at"),
    });
  }

  /** Return a link and its history; throw UnknownLink if linkpool did not make it. */
  async link(slug: string): Promise<LinkWithHistory> {
    const read = (answer: Answer) => answers.object<LinkWithHistory>(answer, "link", "history");
    return this.#send({ method: "GET", path: `/v1/links/${segment(slug)}`, read });
  }

  /** Return the code that shows a claimed link on a page. */
  async embedHtml(slug: string, embed: EmbedType = "inline"): Promise<string> {
    const path = `/v1/links/${segment(slug)}/embed?type=${embed}&format=html`;
    return this.#send({ method: "GET", path, read: htmlOf });
  }

  async #send<T>(call: Call<T>): Promise<T> {
    const what = `${call.method} ${call.path}`;
    const repeatable = call.repeatable ?? true;
    const body = call.body && JSON.stringify(call.body);
    const attempts = new Attempts(what, repeatable, this.#retries, this.#timeoutMs);
    for (;;) {
      let waitMs: number;
      let answer: Answer | undefined;
      try {
        answer = await this.#once(call, body, attempts.timeoutMs());
      } catch (error) {
        waitMs = attempts.afterFailure(error);
      }
      if (answer !== undefined) {
        if (answer.status >= 200 && answer.status < 300) return call.read(answer);
        waitMs = attempts.afterRefusal(answer);
      }
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  async #once(
    call: Call<unknown>,
    body: string | undefined,
    timeoutMs: number,
  ): Promise<Answer> {
    const response = await this.#fetch(this.#url + call.path, {
      method: call.method,
      headers: {
        authorization: `Bearer ${this.#key}`,
        ...(body && { "content-type": "application/json" }),
      },
      ...(body && { body }),
      // linkpool does not redirect; whatever does shall not get the key.
      redirect: "manual",
      // A framework that keeps what fetch answers must never keep this.
      cache: "no-store",
      signal: AbortSignal.timeout(timeoutMs),
    });
    return { status: response.status, headers: response.headers, text: await response.text() };
  }
}

function claimOf(answer: Answer): Claim {
  return answers.object<{ claim: Claim }>(answer, "claim").claim;
}

function htmlOf(answer: Answer): string {
  if (!answer.headers.get("content-type")?.startsWith("text/html")) throw answers.unusable(answer);
  return answer.text;
}

function resultsOf(answer: Answer, customerIds: string[]): BatchResult[] {
  type Row = Omit<BatchResult, "claim" | "problem"> & {
    claim?: (Claim & { claim?: undefined }) | { claim: Claim } | null;
    problem?: Partial<ProblemBody> | null;
  };
  const { results } = answers.object<{ results: Row[] }>(answer, "results");
  const inOrder = customerIds.every((id, at) => results[at]?.customer_id === id);
  if (!inOrder || results.length !== customerIds.length) throw answers.unusable(answer);
  return results.map(({ customer_id, status, claim, problem }) => ({
    customer_id,
    status,
    ...(claim && { claim: claim.claim ?? (claim as Claim) }),
    ...(problem && { problem: answers.problem(problem) }),
  }));
}

function ofMeeting(meeting: string): string {
  return `/v1/meetings/${segment(meeting)}`;
}

function ofClaim(meeting: string, customerId: string): string {
  return `${ofMeeting(meeting)}/claims/${segment(customerId)}`;
}

/** Return text as one segment of a path. */
function segment(text: string): string {
  // URLs drop these segments, also where they are encoded: the call would go to another address.
  if (text === "" || text === "." || text === "..")
    throw new RangeError(`"${text}" cannot stand in an address`);
  return encodeURIComponent(text);
}
