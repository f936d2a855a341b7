/** A server in linkpool's place that answers by a script, and keeps what it was asked. */

import { createServer } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";

export const CLAIM = {
  meeting_sid: "demo",
  customer_id: "order-1",
  slug: "one-off-1",
  url: "https://acme.neetocal.com/one-off-1",
  state: "claimed",
  source: "pool",
  claimed_at: "2026-11-22T06:00:00.000Z",
  consumed_at: null,
  booking_sid: null,
} as const;

export const CLAIMED = {
  claim: CLAIM,
  reused: false,
  embed: { type: "inline", organization: "acme", slug: "one-off-1", queryParams: {} },
};

export interface Asked {
  method: string;
  target: string;
  headers: IncomingHttpHeaders;
  body: any;
  atMs: number;
}

export interface Answer {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
  kind?: string;
}

/** The connection is closed without a word. */
export const DROP: Answer = { status: 0 };
/** Nothing is answered for as long as the server runs. */
export const HANG: Answer = { status: -1 };

/** Return a problem document. */
export function problem(name: string, status: number, retryAfter?: string, more = {}): Answer {
  return {
    status,
    kind: "application/problem+json",
    headers: { "x-request-id": "req-1", ...(retryAfter && { "retry-after": retryAfter }) },
    body: { type: `/problems/${name}`, title: "T", status, detail: "because", ...more },
  };
}

/** Answer each request by the next of the script, by the last one again and again. */
export async function scripted(...script: (Answer | ((asked: Asked) => Answer))[]) {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const piece of request) text += piece;
    const one = {
      method: request.method ?? "",
      target: request.url ?? "",
      headers: request.headers,
      body: text ? JSON.parse(text) : undefined,
      atMs: performance.now(),
    };
    asked.push(one);
    const step = script.length > 1 ? script.shift()! : script[0]!;
    const answer = typeof step === "function" ? step(one) : step;
    if (answer.status === 0) request.socket.destroy();
    if (answer.status <= 0) return;
    const { body } = answer;
    const kind = answer.kind ?? "application/json";
    response.writeHead(answer.status, { "content-type": kind, ...answer.headers });
    response.end(body === undefined || typeof body === "string" ? body : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    asked,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
