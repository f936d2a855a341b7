/** Tokens with which a browser claims for one meeting and one customer. */

const SECRET_CHARACTERS = 32;
const CUSTOMER_ID_CHARACTERS = 256;

export interface TokenRequest {
  /** The token secret of the API key. */
  secret: string;
  /** The id of that API key: the 8 hex digits after `lp_`. */
  keyId: string;
  meeting: string;
  customerId: string;
  expiresInSeconds: number;
  email?: string;
}

/**
 * Return a JWT (HS256) with which a browser claims for this meeting and customer.
 *
 * Sign where the visitor cannot look: whoever has the secret can claim for everybody. The token
 * itself opens nothing else, but its claims can be read.
 */
export async function signToken(request: TokenRequest): Promise<string> {
  const { secret, keyId, meeting, customerId, expiresInSeconds, email } = request;
  if ([...secret].length < SECRET_CHARACTERS)
    throw new RangeError(`the secret has fewer than ${SECRET_CHARACTERS} characters`);
  if (!/^[0-9a-f]{8}$/.test(keyId))
    throw new RangeError("keyId is the id of an API key: the 8 hex digits after lp_");
  const length = [...customerId].length;
  if (meeting === "" || length < 1 || length > CUSTOMER_ID_CHARACTERS)
    throw new RangeError("a token needs a meeting, and a customer id of 1 to 256 characters");
  if (!(expiresInSeconds > 0)) throw new RangeError("expiresInSeconds must be more than 0");
  const claims = {
    meeting,
    customer_id: customerId,
    exp: Math.floor(Date.now() / 1000 + expiresInSeconds),
    ...(email !== undefined && { email }),
  };
  const signed = `${part({ alg: "HS256", typ: "JWT", kid: keyId })}.${part(claims)}`;
  // Node 18 has it under another name than all others.
  const { subtle } = globalThis.crypto ?? (await import("node:crypto")).webcrypto;
  const key = await subtle.importKey(
    "raw",
    new TextEncoder().encode(secret),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  const signature = await subtle.sign("HMAC", key, new TextEncoder().encode(signed));
  return `${signed}.${base64url(new Uint8Array(signature))}`;
}

function part(value: object): string {
  return base64url(new TextEncoder().encode(JSON.stringify(value)));
}

function base64url(bytes: Uint8Array): string {
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
