/** Claim one-off scheduling links from a linkpool, and sign tokens for its embeds. */

export { BATCH_SIZE, Linkpool } from "./client.js";
export type { Customer, Options } from "./client.js";
export * from "./errors.js";
export type {
  BatchResult,
  Booking,
  Claim,
  Claimed,
  EmbedOptions,
  EmbedType,
  LinkWithHistory,
  Token,
} from "./models.js";
export type { Retries } from "./retries.js";
export { signToken } from "./tokens.js";
export type { TokenRequest } from "./tokens.js";
