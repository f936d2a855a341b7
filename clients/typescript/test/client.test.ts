import assert from "node:assert/strict";
import { inspect } from "node:util";
import { after, test } from "node:test";
import * as lp from "../src/index.js";
import { CLAIM, CLAIMED, DROP, HANG, problem, scripted } from "./scripted.js";
import type { Answer, Asked } from "./scripted.js";

const KEY = "lp_1a2b3c4d_a-key-that-nobody-may-read-in-a-log";

async function against(
  script: (Answer | ((asked: Asked) => Answer))[],
  options: lp.Options = {},
) {
  const server = await scripted(...script);
  after(() => server.close());
  return { client: new lp.Linkpool(server.url, KEY, options), asked: server.asked, url: server.url };
}

async function thrown(made: Promise<unknown>): Promise<any> {
  return made.then(
    () => assert.fail("nothing was thrown"),
    (error: unknown) => error,
  );
}

test("a claim is one request with the key and what was given", async () => {
  const { client, asked } = await against([{ status: 201, body: CLAIMED }]);
  const claimed = await client.claim("demo", "order-1", {
    email: "zoe@example.com",
    metadata: { plan: "a" },
  });
  await client.claim("demo", "order-1");
  assert.deepEqual(claimed, CLAIMED);
  const [first, second] = asked;
  assert.equal(`${first?.method} ${first?.target}`, "POST /v1/meetings/demo/claims");
  assert.equal(first?.headers.authorization, `Bearer ${KEY}`);
  assert.deepEqual(first?.body, {
    customer_id: "order-1",
    email: "zoe@example.com",
    metadata: { plan: "a" },
  });
  assert.deepEqual(second?.body, { customer_id: "order-1" });
});

test("each problem has a class of its own", async () => {
  for (const [name, Kind] of Object.entries(lp.BY_NAME)) {
    // 418 passes to no retry; the class comes by the name alone.
    const { client } = await against([problem(name, 418, "7", { errors: ["email: too long"] })]);
    const error = await thrown(client.claim("demo", "order-1"));
    assert.equal(error.constructor, Kind, name);
    assert.ok(error instanceof lp.Problem && error instanceof lp.LinkpoolError);
    assert.equal(error.problemName, name);
    assert.deepEqual([error.status, error.detail, error.retryAfterSeconds], [418, "because", 7]);
    assert.deepEqual([error.requestId, ...error.errors], ["req-1", "email: too long"]);
  }
  for (const Kind of [lp.PoolEmpty, lp.PoolPaused, lp.Recovering, lp.StoreUnavailable])
    assert.ok(Kind.prototype instanceof lp.Unavailable);
});

test("a problem of an unknown name is a problem still", async () => {
  for (const name of ["too-early", "constructor", "__proto__"]) {
    const { client } = await against([problem(name, 425)]);
    const error = await thrown(client.claim("demo", "order-1"));
    assert.equal(error.constructor, lp.Problem);
    assert.equal(error.problemName, name);
  }
});

test("a fallback url comes with the error", async () => {
  const more = { fallback_url: "https://acme.neetocal.com/intro" };
  const { client } = await against([problem("pool-empty", 503, "30", more)]);
  const error = await thrown(client.claim("demo", "order-1"));
  assert.ok(error instanceof lp.PoolEmpty);
  assert.equal(error.fallbackUrl, more.fallback_url);
});

test("Retry-After is waited for", async () => {
  const { client, asked } = await against([
    problem("recovering", 503, "1"),
    { status: 201, body: CLAIMED },
  ]);
  await client.claim("demo", "order-1");
  const waited = asked[1]!.atMs - asked[0]!.atMs;
  assert.ok(waited >= 1000 && waited < 3000, `${waited} ms`);
});

test("Retry-After may be a date", async () => {
  for (const [minutes, least, most] of [
    [60, 3590, 3600],
    [-60, 0, 0],
  ] as const) {
    const at = new Date(Date.now() + minutes * 60_000).toUTCString();
    const { client, asked } = await against([problem("pool-paused", 503, at)], {
      retries: { times: 1 },
    });
    const { retryAfterSeconds } = await thrown(client.claim("demo", "order-1"));
    assert.ok(retryAfterSeconds >= least && retryAfterSeconds <= most, retryAfterSeconds);
    assert.equal(asked.length, minutes > 0 ? 1 : 2);
  }
});

test("retries end by their number", async () => {
  const { client, asked } = await against([problem("rate-limited", 429, "0")], {
    retries: { times: 2 },
  });
  assert.ok((await thrown(client.claim("demo", "order-1"))) instanceof lp.RateLimited);
  assert.equal(asked.length, 3);
});

test("retries end by their time", async () => {
  const paused = await against([problem("pool-paused", 503, "30")]);
  let started = performance.now();
  const error = await thrown(paused.client.claim("demo", "order-1"));
  assert.equal(error.retryAfterSeconds, 30);
  assert.equal(paused.asked.length, 1);
  assert.ok(performance.now() - started < 1000);

  // Without Retry-After it waits 0.1, 0.2, 0.4 s …
  const empty = await against([problem("pool-empty", 503)], {
    retries: { times: 99, totalMs: 1400 },
  });
  started = performance.now();
  assert.ok((await thrown(empty.client.claim("demo", "order-1"))) instanceof lp.PoolEmpty);
  assert.ok(performance.now() - started < 2400);
  assert.equal(empty.asked.length, 4);
});

test("a server that hangs is given up in time", async () => {
  const { client } = await against([HANG], { retries: { totalMs: 500 } });
  const started = performance.now();
  const error = await thrown(client.claim("demo", "order-1"));
  assert.ok(error instanceof lp.NotReachable, String(error));
  assert.match(error.message, /POST \/v1\/meetings\/demo\/claims/);
  assert.ok(performance.now() - started < 2000);
});

test("a claim is sent again after what passes", async () => {
  for (const passing of [DROP, { status: 502, body: "<html>Bad Gateway", kind: "text/html" }]) {
    const { client, asked } = await against([passing, { status: 200, body: CLAIMED }]);
    assert.deepEqual(await client.claim("demo", "order-1"), CLAIMED);
    assert.equal(asked.length, 2);
  }
});

test("a replacement in doubt is not asked for again", async () => {
  for (const doubt of [DROP, problem("store-unavailable", 503, "0"), problem("x", 502)]) {
    const { client, asked } = await against([doubt, { status: 200, body: { claim: CLAIM } }]);
    assert.ok((await thrown(client.replace("demo", "a/b", "why"))) instanceof lp.LinkpoolError);
    assert.equal(asked.length, 1);
  }
});

test("a replacement of a named link may be repeated", async () => {
  const { client, asked } = await against([DROP, { status: 200, body: { claim: CLAIM } }]);
  await client.replace("demo", "order-1", "why", { slug: "one-off-0" });
  assert.equal(asked.length, 2);
  assert.deepEqual(asked[1]?.body, { reason: "why", slug: "one-off-0" });
});

test("a replacement that was surely refused is asked for again", async () => {
  const refused = problem("rate-limited", 429, "0");
  const { client, asked } = await against([refused, { status: 200, body: { claim: CLAIM } }]);
  assert.deepEqual(await client.replace("demo", "a/b", "why"), CLAIM);
  assert.equal(asked[1]?.target, "/v1/meetings/demo/claims/a%2Fb/replace");
  assert.deepEqual(asked[1]?.body, { reason: "why" });
});

test("what does not pass is not repeated", async () => {
  for (const status of [400, 401, 404, 422, 500]) {
    const { client, asked } = await against([problem("whatever", status, "0")]);
    assert.ok((await thrown(client.claim("demo", "order-1"))) instanceof lp.Problem);
    assert.equal(asked.length, 1);
  }
});

test("an answer that is not linkpool's is said to be that, and a redirect gets no key", async () => {
  for (const answer of [
    { status: 200, body: "<html>Welcome to nginx!", kind: "text/html" },
    { status: 200, body: { hello: "world" } },
    { status: 200, body: [1] },
    { status: 404, body: "<html>Not here", kind: "text/html" },
    { status: 302, headers: { location: "/elsewhere" } },
    { status: 204 },
  ]) {
    const { client, asked } = await against([answer]);
    const error = await thrown(client.claim("demo", "order-1"));
    assert.ok(error instanceof lp.UnusableAnswer, String(error));
    assert.equal(error.status, answer.status);
    assert.equal(asked.length, 1);
  }
});

test("a batch goes in pieces and comes back in order", async () => {
  const results = (asked: Asked): Answer => {
    const each = asked.body.claims.map((one: { customer_id: string }) => ({
      customer_id: one.customer_id,
      status: 201,
      claim: { ...CLAIM, customer_id: one.customer_id },
    }));
    if (each.length === 500)
      each[499] = { ...each[499], status: 503, claim: null, problem: problem("pool-empty", 503).body };
    return { status: 200, body: { results: each } };
  };
  const { client, asked } = await against([results]);
  const customers = Array.from({ length: 2500 }, (_, n) =>
    n % 2 ? `order-${n}` : { customerId: `order-${n}`, email: `${n}@example.com` },
  );
  const found = await client.claimBatch("demo", customers);
  assert.deepEqual(asked.map((one) => one.body.claims.length), [1000, 1000, 500]);
  assert.equal(asked[0]?.target, "/v1/meetings/demo/claims:batch");
  const sent = asked[0]?.body.claims.slice(6, 8);
  assert.deepEqual(sent, [
    { customer_id: "order-6", email: "6@example.com" },
    { customer_id: "order-7" },
  ]);
  assert.deepEqual(found.map((each) => each.customer_id), found.map((_, n) => `order-${n}`));
  assert.equal(found.length, 2500);
  assert.equal(found[0]?.claim?.customer_id, "order-0");
  assert.equal(found[2499]?.claim, undefined);
  assert.ok(found[2499]?.problem instanceof lp.PoolEmpty);
});

test("results of a batch in another order are refused", async () => {
  const body = { results: ["b", "a"].map((id) => ({ customer_id: id, status: 201, claim: CLAIM })) };
  const { client } = await against([{ status: 200, body }]);
  assert.ok((await thrown(client.claimBatch("demo", ["a", "b"]))) instanceof lp.UnusableAnswer);
});

test("any customer id is one segment of the path, or refused", async () => {
  const { client, asked } = await against([{ status: 200, body: { claim: CLAIM } }]);
  for (const id of ["a/b", "ü ?#", "50%", "..."]) await client.get("demo", id);
  const segments = asked.map((one) => one.target.replace("/v1/meetings/demo/claims/", ""));
  assert.deepEqual(segments, ["a%2Fb", "%C3%BC%20%3F%23", "50%25", "..."]);
  for (const id of ["", ".", ".."]) assert.ok((await thrown(client.forget("demo", id))) instanceof RangeError);
  assert.equal(asked.length, 4);
});

test("linkpool's embed code is taken as it is", async () => {
  const code = "<div>made by linkpool</div>";
  const { client, asked } = await against([
    { status: 201, body: { ...CLAIMED, embed_html: code } },
    { status: 200, body: code, kind: "text/html; charset=utf-8" },
  ]);
  const claimed = await client.claim("demo", "order-1", { embed: "floating-popup" });
  assert.equal(claimed.embed_html, code);
  assert.equal(await client.embedHtml("one-off-1", "element-click"), code);
  assert.deepEqual(
    asked.map((one) => one.target),
    [
      "/v1/meetings/demo/claims?embed=floating-popup",
      "/v1/links/one-off-1/embed?type=element-click&format=html",
    ],
  );
  assert.deepEqual(asked[0]?.body, { customer_id: "order-1" });
});

test("an answer without the code that was asked for is none", async () => {
  const { client } = await against([{ status: 201, body: CLAIMED }]);
  await assert.rejects(client.claim("demo", "order-1", { embed: "inline" }), lp.UnusableAnswer);
});

test("the key is never in a text", async () => {
  const { client, url } = await against([DROP], { retries: { times: 0 } });
  const error = await thrown(client.claim("demo", "order-1"));
  assert.ok(error instanceof lp.NotReachable);
  assert.ok(!inspect([client, error], { depth: 9, showHidden: true }).includes(KEY));
  assert.throws(
    () => new lp.Linkpool(url, `${KEY}\n`),
    (refused: Error) => !refused.message.includes(KEY),
  );
  assert.throws(() => new lp.Linkpool("links.example.com", KEY), /links\.example\.com/);
});
