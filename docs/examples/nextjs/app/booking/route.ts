// A booking page as a Next.js route handler: app/booking/route.ts of an app of yours.
//
//   npx create-next-app@latest site && cd site && npm install ../linkpool-client-0.1.0.tgz
//   cp -r ../docs/examples/nextjs/app . && LINKPOOL_URL=… LINKPOOL_KEY=… npx next dev
//
// clients/typescript/README.md says how to make the package.

import { randomUUID } from "node:crypto";
import { Linkpool, LinkpoolError, Unavailable } from "linkpool-client";

const meeting = process.env.LINKPOOL_MEETING ?? "demo";
let linkpool: Linkpool | undefined; // made by the first visit: a build has no key

/** Show the visitor's own link; the same one on each visit. */
export async function GET(request: Request): Promise<Response> {
  // Use your own id where you have one: the user's, the order's, the lead's.
  const visitor = knownVisitor(request) ?? randomUUID();
  const page = "<!doctype html><title>Book a call</title><h1>Book a call</h1>";
  return new Response(page + (await embedFor(visitor)), {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-store", // nobody else may see this visitor's link
      "set-cookie": `visitor=${visitor}; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax`,
    },
  });
}

/** Return the id of the cookie if it is one of ours: nobody can guess another visitor's. */
function knownVisitor(request: Request): string | undefined {
  const uuid = /(?:^|;\s*)visitor=([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:;|$)/;
  return uuid.exec(request.headers.get("cookie") ?? "")?.[1];
}

/** Return what the page shows in the place of the booking. */
async function embedFor(visitor: string): Promise<string> {
  try {
    linkpool ??= new Linkpool(process.env.LINKPOOL_URL ?? "", process.env.LINKPOOL_KEY ?? "");
    const claimed = await linkpool.claim(meeting, `visitor-${visitor}`, { embed: "inline" });
    return claimed.embed_html ?? "";
  } catch (error) {
    if (!(error instanceof LinkpoolError)) throw error;
    if (error instanceof Unavailable && error.fallbackUrl)
      return `<a href="${escaped(error.fallbackUrl)}">Book a time</a>`;
    console.error("no link for a visitor:", error.message);
    return "<p>Booking is not available right now. Please try again in a few minutes.</p>";
  }
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
