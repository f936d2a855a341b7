import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { signToken } from "../src/index.js";

const SECRET = "a-token-secret-of-at-least-32-characters";
const RIGHT = { secret: SECRET, keyId: "1a2b3c4d", meeting: "demo", customerId: "zoë/👋" };

test("a token says no more than the contract", async () => {
  const before = Math.floor(Date.now() / 1000);
  const token = await signToken({ ...RIGHT, expiresInSeconds: 600, email: "zoë@example.com" });
  const [header = "", claims = "", signature] = token.split(".");
  const expected = createHmac("sha256", SECRET).update(`${header}.${claims}`).digest("base64url");
  assert.equal(signature, expected);
  const read = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString());
  assert.deepEqual(read(header), { alg: "HS256", typ: "JWT", kid: "1a2b3c4d" });
  const { exp, ...rest } = read(claims);
  assert.ok(exp >= before + 600 && exp <= before + 605);
  assert.deepEqual(rest, { meeting: "demo", customer_id: "zoë/👋", email: "zoë@example.com" });
});

test("a token that could not work is not made", async () => {
  for (const [wrong, said] of [
    [{ secret: "short" }, /32 characters/],
    [{ keyId: "lp_1a2b3c4d" }, /8 hex digits/],
    [{ meeting: "" }, /meeting/],
    [{ customerId: "" }, /customer id/],
    [{ customerId: "x".repeat(257) }, /customer id/],
    [{ expiresInSeconds: 0 }, /expiresInSeconds/],
    [{ expiresInSeconds: NaN }, /expiresInSeconds/],
  ] as const)
    await assert.rejects(signToken({ expiresInSeconds: 60, ...RIGHT, ...wrong }), said);
});
