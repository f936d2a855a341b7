/** When a call is made again, and when it is given up. */

import * as answers from "./answers.js";
import type { Answer } from "./answers.js";
import { NotReachable } from "./errors.js";

/**
 * How often a call is repeated, and how long it may take with all its waits.
 *
 * A wait that would not fit into what is left of `totalMs` is not begun: the error is thrown at
 * once, with its `retryAfterSeconds`.
 */
export interface Retries {
  times: number;
  totalMs: number;
}

export const DEFAULT_RETRIES: Retries = { times: 3, totalMs: 5000 };

const PASSING = new Set([429, 502, 503, 504]);
// Refused before anything was done, so that even a call that is not repeatable may be made again.
const REFUSED_UNDONE = new Set([429]);
const BACKOFF_MS = 100;
const JITTER = 0.1; // of a wait, added to it, so that many clients do not come back at once

/** The attempts at one call: what each may take, and what comes after it. */
export class Attempts {
  #made = 0;
  readonly #deadline: number;

  constructor(
    private readonly what: string,
    private readonly repeatable: boolean,
    private readonly retries: Retries,
    private readonly attemptMs: number,
  ) {
    this.#deadline = performance.now() + retries.totalMs;
  }

  /** Return what the next attempt may take, in milliseconds. */
  timeoutMs(): number {
    return Math.ceil(Math.max(10, Math.min(this.attemptMs, this.#leftMs())));
  }

  /** Return the milliseconds to wait after an attempt without an answer, or throw. */
  afterFailure(error: unknown): number {
    // fetch does not say whether anything was sent, so only what is repeatable is repeated.
    const wait = this.repeatable ? this.#waitMs(undefined) : undefined;
    if (wait !== undefined) return wait;
    throw new NotReachable(`no answer to ${this.what}: ${reason(error)}`, { cause: error });
  }

  /** Return the milliseconds to wait after an answer that is no success, or throw. */
  afterRefusal(answer: Answer): number {
    const passing = this.repeatable ? PASSING : REFUSED_UNDONE;
    const wait = passing.has(answer.status)
      ? this.#waitMs(answers.retryAfterSeconds(answer.headers))
      : undefined;
    if (wait !== undefined) return wait;
    throw answers.error(answer);
  }

  #waitMs(askedSeconds: number | undefined): number | undefined {
    this.#made += 1;
    if (this.#made > this.retries.times) return undefined;
    const backoff = BACKOFF_MS * 2 ** (this.#made - 1);
    const asked = askedSeconds === undefined ? backoff : askedSeconds * 1000;
    const wait = asked * (1 + JITTER * Math.random());
    return wait < this.#leftMs() ? wait : undefined;
  }

  #leftMs(): number {
    return this.#deadline - performance.now();
  }
}

function reason(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
