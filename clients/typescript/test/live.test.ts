/** The client against the linkpool that LINKPOOL_URL and LINKPOOL_KEY name. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import * as lp from "../src/index.js";

const { LINKPOOL_URL, LINKPOOL_KEY } = process.env;
const there = LINKPOOL_URL !== undefined && LINKPOOL_KEY !== undefined;
const skip = there ? false : "LINKPOOL_URL and LINKPOOL_KEY name no linkpool";
const client = new lp.Linkpool(LINKPOOL_URL ?? "http://127.0.0.1", LINKPOOL_KEY ?? "none");

async function eventually<T>(what: () => Promise<T>, until: (found: T) => boolean): Promise<T> {
  for (const deadline = Date.now() + 15_000; ; ) {
    const found = await what();
    if (until(found)) return found;
    assert.ok(Date.now() < deadline, `still ${JSON.stringify(found)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("a claim is kept, looked up and forgotten", { skip }, async () => {
  const customer = `ts-${randomUUID()}/ü ?#..%`;
  await assert.rejects(client.get("demo", customer), lp.UnknownClaim);
  const metadata = { plan: "a" };
  const first = await client.claim("demo", customer, { email: "zoe@example.com", metadata });
  const again = await client.claim("demo", customer);
  assert.deepEqual([first.reused, again.reused], [false, true]);
  assert.deepEqual(again.claim, first.claim);
  assert.deepEqual(await client.get("demo", customer), first.claim);
  const claimed = await eventually(
    () => client.link(first.claim.slug),
    ({ link }) => link["state"] === "claimed",
  );
  assert.equal(claimed.link["customer_id"], customer);
  assert.deepEqual(claimed.history.map((each) => each["what"]), ["created", "claimed"]);
  await client.forget("demo", customer);
  await assert.rejects(client.get("demo", customer), lp.UnknownClaim);
});

test("refusals of a real linkpool", { skip }, async () => {
  await assert.rejects(client.claim("nowhere", "order-1"), lp.UnknownMeeting);
  await assert.rejects(client.claim("demo", "a\0b"), lp.InvalidCustomerId);
  await assert.rejects(client.claim("demo", "o", { email: "not an address" }), lp.InvalidRequest);
  await assert.rejects(client.link("one-off-never-made"), lp.UnknownLink);
  const stranger = new lp.Linkpool(LINKPOOL_URL ?? "", "lp_00000000_wrong");
  await assert.rejects(stranger.claim("demo", "order-1"), lp.Unauthorized);
});

test("linkpool knows each problem that has a class", { skip }, async () => {
  for (const name of Object.keys(lp.BY_NAME))
    assert.equal((await fetch(`${LINKPOOL_URL}/problems/${name}`)).status, 200, name);
});

test("a claim with embed has code for the page, and what is prefilled", { skip }, async () => {
  const { claim, embed, embed_html } = await client.claim("demo", randomUUID(), {
    embed: "element-click",
    prefill: { name: "Zoe" },
    nonce: "bm9uY2U=",
  });
  assert.ok(embed_html?.includes(claim.slug));
  assert.ok(embed_html?.includes('nonce="bm9uY2U="'));
  assert.deepEqual((embed as { queryParams: object }).queryParams, {
    dynamicHeight: true,
    name: "Zoe",
    ref: claim.slug,
  });
});

test("replace gives a fresh link", { skip }, async () => {
  const customer = randomUUID();
  const old = (await client.claim("demo", customer)).claim;
  const slug = old.slug;
  const fresh = await client.replace("demo", customer, "it showed an expired page", { slug });
  assert.equal((await client.replace("demo", customer, "again", { slug })).slug, fresh.slug);
  assert.notEqual(fresh.slug, old.slug);
  assert.equal((await client.get("demo", customer)).slug, fresh.slug);
});

test("a batch claims for each", { skip }, async () => {
  const customers = [randomUUID(), randomUUID(), randomUUID()];
  const first = await client.claimBatch("demo", customers);
  const again = await client.claimBatch("demo", customers);
  assert.deepEqual(first.map((each) => each.status), [201, 201, 201]);
  assert.deepEqual(again.map((each) => each.claim), first.map((each) => each.claim));
  assert.equal(new Set(first.map((each) => each.claim?.slug)).size, 3);
});

/** Return the URL that a page is shown for a token. */
async function shown(token: string): Promise<string> {
  const init = { method: "POST", body: JSON.stringify({ token }) };
  const answer = await fetch(`${LINKPOOL_URL}/v1/embed/claims`, init);
  assert.ok(answer.ok, await answer.clone().text());
  return ((await answer.json()) as { url: string }).url;
}

test("a browser claims with a token that linkpool signs", { skip }, async () => {
  const customer = `zoë/👋 ${randomUUID()}`;
  const { token, expires_at } = await client.token("demo", customer, { expiresInSeconds: 60 });
  assert.ok(Date.parse(expires_at) > Date.now() && Date.parse(expires_at) < Date.now() + 90_000);
  const url = await shown(token);
  const { token: another } = await client.token("demo", customer, { email: "zoe@example.com" });
  assert.equal(await shown(another), url);
  assert.equal((await client.get("demo", customer)).url, url);
  await assert.rejects(client.token("nowhere", customer), lp.UnknownMeeting);
});

const [keyId, secret] = (process.env["LINKPOOL_TOKEN_SIGNER"] ?? "").split(" ");
const signer = secret ? false : skip || "LINKPOOL_TOKEN_SIGNER has no id of a key and its secret";
test("a browser claims with a token that is signed here", { skip: signer }, async () => {
  const customerId = `zoë/👋 ${randomUUID()}`;
  const wanted = { keyId: keyId!, secret: secret!, meeting: "demo", customerId };
  const url = await shown(await lp.signToken({ ...wanted, expiresInSeconds: 60 }));
  assert.equal((await client.get("demo", customerId)).url, url);
});

test("embed code comes with the claim and later", { skip }, async () => {
  for (const embed of ["inline", "element-click", "floating-popup"] as const) {
    const { claim, embed_html } = await client.claim("demo", randomUUID(), { embed });
    assert.ok(embed_html?.includes(claim.slug));
    await eventually(() => client.link(claim.slug), ({ link }) => link["state"] === "claimed");
    assert.ok((await client.embedHtml(claim.slug, embed)).includes(claim.slug));
  }
});
