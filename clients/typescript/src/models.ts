/** What linkpool answers, as its OpenAPI document has it: names and values are those of the wire. */

import type { Problem } from "./errors.js";
import type { components } from "./schema.js";

type Schemas = components["schemas"];

/** One link bound to one customer. */
export type Claim = Schemas["ClaimBody"];

/** What is known of the booking that used a link. */
export type Booking = Schemas["BookingBody"];

/** The answer to a claim; `embed_html` is there if the claim asked for it. */
export type Claimed = Schemas["ClaimAnswer"];

/** A link as linkpool's ledger knows it, and its history, oldest first. */
export type LinkWithHistory = Schemas["LinkAnswer"];

/** A token with which a browser claims for one meeting and one customer. */
export type Token = Schemas["TokenAnswer"];

/** The three ways in which a page shows a link. */
export type EmbedType = "inline" | "element-click" | "floating-popup";

/** What embed code may be given besides its type; docs/embeds.md says what each does. */
export type EmbedOptions = Partial<
  Omit<Schemas["EmbeddedClaimRequest"], "customer_id" | "email" | "metadata">
>;

/** One customer's result in a batch: a claim, or the problem that stood in its way. */
export interface BatchResult {
  customer_id: string;
  status: number;
  claim?: Claim;
  problem?: Problem;
}
