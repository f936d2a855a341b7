/**
 * Embed code made here, for a linkpool that does not answer `embed_html` yet.
 *
 * Source: NeetoCal's help on embedding; for one-off links only the slug changes per visitor.
 */

import type { Claimed, EmbedType } from "./models.js";

const SCRIPT = "https://cdn.neetocal.com/javascript/embed.js";
const TYPES = { inline: "inline", "element-click": "elementClick", "floating-popup": "floatingPopup" };

/** Return the code that shows a claim's link, or that the customer has booked. */
export function embedCode(claimed: Claimed, embed: EmbedType): string {
  if (claimed.claim.state === "consumed") return booked(claimed);
  const id = `linkpool-${claimed.claim.slug}`;
  const places: Record<EmbedType, string> = {
    inline: `<div id="${escaped(id)}"></div>`,
    "element-click": `<button type="button" id="${escaped(id)}">Book a time</button>`,
    "floating-popup": "",
  };
  const place = places[embed];
  const call = { ...claimed.embed, type: TYPES[embed], ...(place && { elementSelector: `#${id}` }) };
  return (
    place +
    "<script>window.neetoCal=window.neetoCal||{embed:function(){" +
    "(neetoCal.q=neetoCal.q||[]).push(arguments)}};" +
    `neetoCal.embed(${jsonInScript(call)});</script>` +
    `<script async src="${SCRIPT}"></script>`
  );
}

function booked({ claim }: Claimed): string {
  const at = claim.booking?.starts_at;
  const url = claim.booking?.manage_url ?? "";
  const words = at ? `You are booked for ${at}.` : "You are booked.";
  const manage = /^https?:\/\//.test(url)
    ? ` <a href="${escaped(url)}">Manage your booking</a>`
    : "";
  return `<p>${escaped(words)}${manage}</p>`;
}

/** Return JSON in which nothing can end the script element it stands in. */
function jsonInScript(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
