// A booking page in Express.
//
//   npm --prefix ../../../clients/typescript ci
//   npm install && LINKPOOL_URL=… LINKPOOL_KEY=… node server.mjs

import { randomUUID } from "node:crypto";
import express from "express";
import { Linkpool, LinkpoolError, Unavailable } from "linkpool-client";

const linkpool = new Linkpool(process.env.LINKPOOL_URL, process.env.LINKPOOL_KEY);
const meeting = process.env.LINKPOOL_MEETING ?? "demo";
const app = express();

// Show the visitor's own link; the same one on each visit.
app.get("/", async (request, response) => {
  // Use your own id where you have one: the user's, the order's, the lead's.
  const visitor = knownVisitor(request) ?? randomUUID();
  const days = 24 * 3600 * 1000;
  response.cookie("visitor", visitor, { maxAge: 30 * days, httpOnly: true, sameSite: "lax" });
  response.set("Cache-Control", "no-store"); // nobody else may see this visitor's link
  const embed = await embedFor(visitor);
  response.send(`<!doctype html><title>Book a call</title><h1>Book a call</h1>${embed}`);
});

/** Return the id of the cookie if it is one of ours: nobody can guess another visitor's. */
function knownVisitor(request) {
  const uuid = /(?:^|;\s*)visitor=([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:;|$)/;
  return uuid.exec(request.headers.cookie ?? "")?.[1];
}

/** Return what the page shows in the place of the booking. */
async function embedFor(visitor) {
  try {
    return (await linkpool.claim(meeting, `visitor-${visitor}`, { embed: "inline" })).embed_html;
  } catch (error) {
    if (!(error instanceof LinkpoolError)) throw error;
    if (error instanceof Unavailable && error.fallbackUrl)
      return `<a href="${escaped(error.fallbackUrl)}">Book a time</a>`;
    console.error("no link for a visitor:", error.message);
    return "<p>Booking is not available right now. Please try again in a few minutes.</p>";
  }
}

function escaped(text) {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
