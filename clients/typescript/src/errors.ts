/**
 * Errors of the client: one class for each problem that linkpool names.
 *
 * LinkpoolError
 * ├── NotReachable          no answer in time
 * ├── UnusableAnswer        an answer, but not linkpool's: a proxy's page, a wrong address
 * └── Problem               linkpool refused, and said why; also a problem of an unknown name
 *     ├── MalformedJson · TooLarge · InvalidCustomerId · InvalidRequest
 *     ├── Unauthorized · BadSignature · Forbidden
 *     ├── Unknown           UnknownMeeting · UnknownClaim · UnknownLink · UnknownWorkspace
 *     ├── NotReplaceable · RateLimited
 *     ├── Unavailable       PoolEmpty · PoolPaused · Recovering · StoreUnavailable ·
 *     │                     LedgerUnavailable · StillErasing · TooManyConnections
 *     └── ProviderFailed · InternalError
 */

import type { components } from "./schema.js";

/** A problem document. */
export type ProblemBody = components["schemas"]["ProblemBody"];

/** The base of everything that a client throws about linkpool's answers. */
export class LinkpoolError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** No answer came within the time that the call has. */
export class NotReachable extends LinkpoolError {}

/** The answer is not linkpool's. Check the client's address and the proxies in between. */
export class UnusableAnswer extends LinkpoolError {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** linkpool refused the call. A name that this client does not know yet is thrown as this. */
export class Problem extends LinkpoolError {
  readonly problemName: string;
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  /** Which fields were wrong, and why. */
  readonly errors: readonly string[];
  /** The meeting's plain link, where the operator set one. */
  readonly fallbackUrl: string | undefined;
  /** linkpool's `Retry-After`. */
  readonly retryAfterSeconds: number | undefined;
  readonly requestId: string | undefined;

  constructor(
    problemName: string,
    body: Partial<ProblemBody>,
    retryAfterSeconds?: number,
    requestId?: string,
  ) {
    const detail = body.detail || body.title || "no reason is given";
    const errors = body.errors ?? [];
    super([`${problemName} (${body.status ?? 0}): ${detail}`, ...errors].join("; "));
    this.problemName = problemName;
    this.status = body.status ?? 0;
    this.title = body.title ?? "";
    this.detail = detail;
    this.errors = errors;
    this.fallbackUrl = body.fallback_url ?? undefined;
    this.retryAfterSeconds = retryAfterSeconds;
    this.requestId = requestId;
  }
}

export class MalformedJson extends Problem {}
export class Unauthorized extends Problem {}
export class BadSignature extends Problem {}
export class Forbidden extends Problem {}
/** What the call names does not exist. */
export class Unknown extends Problem {}
export class UnknownMeeting extends Unknown {}
export class UnknownClaim extends Unknown {}
export class UnknownLink extends Unknown {}
export class UnknownWorkspace extends Unknown {}
export class TooLarge extends Problem {}
export class InvalidCustomerId extends Problem {}
export class InvalidRequest extends Problem {}
/** The link is booked; cancel the booking at the provider instead. */
export class NotReplaceable extends Problem {}
export class RateLimited extends Problem {}
/** Nothing is wrong with the call; try it later, or show `fallbackUrl` meanwhile. */
export class Unavailable extends Problem {}
export class PoolEmpty extends Unavailable {}
export class PoolPaused extends Unavailable {}
export class Recovering extends Unavailable {}
export class StoreUnavailable extends Unavailable {}
export class LedgerUnavailable extends Unavailable {}
/** The customer cannot be found any more, but is not erased everywhere yet; ask again. */
export class StillErasing extends Unavailable {}
export class TooManyConnections extends Unavailable {}
/** The scheduling provider gave no usable answer. */
export class ProviderFailed extends Problem {}
/** A defect of linkpool; its log has the reason under `requestId`. */
export class InternalError extends Problem {}

/** Each problem's name with its class. */
export const BY_NAME: Readonly<Record<string, typeof Problem>> = {
  "malformed-json": MalformedJson,
  unauthorized: Unauthorized,
  "bad-signature": BadSignature,
  forbidden: Forbidden,
  "not-found": Unknown,
  "unknown-meeting": UnknownMeeting,
  "unknown-claim": UnknownClaim,
  "unknown-link": UnknownLink,
  "unknown-workspace": UnknownWorkspace,
  "too-large": TooLarge,
  "invalid-customer-id": InvalidCustomerId,
  "invalid-request": InvalidRequest,
  "not-replaceable": NotReplaceable,
  "rate-limited": RateLimited,
  "pool-empty": PoolEmpty,
  "pool-paused": PoolPaused,
  recovering: Recovering,
  "store-unavailable": StoreUnavailable,
  "ledger-unavailable": LedgerUnavailable,
  "still-erasing": StillErasing,
  "too-many-connections": TooManyConnections,
  "provider-failed": ProviderFailed,
  "internal-error": InternalError,
};
