/**
 * The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) for the one password there is.
 */
import crypto from "node:crypto";

export const MECHANISM = "SCRAM-SHA-256";
const ITERATIONS = 4096;

/** What a server keeps of a password: made once, as deriving it is slow on purpose. */
export function deriveVerifier(password) {
  const salt = crypto.randomBytes(16);
  const salted = crypto.pbkdf2Sync(password.normalize("NFKC"), salt, ITERATIONS, 32, "sha256");
  return { salt, storedKey: sha256(hmac(salted, "Client Key")), serverKey: hmac(salted, "Server Key") };
}

/** Answer the client's first message; `verify` then takes its final one and gives our last, or null if it is wrong. */
export function beginExchange(verifier, clientFirst) {
  const [, header, bare] = /^([ny],[^,]*,)(.*)$/s.exec(clientFirst) ?? [];
  const clientNonce = /(?:^|,)r=([^,]+)/.exec(bare ?? "")?.[1];
  if (clientNonce === undefined) return null;
  const nonce = clientNonce + crypto.randomBytes(18).toString("base64");
  const serverFirst = `r=${nonce},s=${verifier.salt.toString("base64")},i=${ITERATIONS}`;
  const verify = (clientFinal) => verifyFinal({ verifier, header, bare, nonce, serverFirst, clientFinal });
  return { serverFirst, verify };
}

function verifyFinal({ verifier, header, bare, nonce, serverFirst, clientFinal }) {
  const [, withoutProof, binding, echoed, proof] = /^(c=([^,]+),r=([^,]+)),p=(.+)$/s.exec(clientFinal) ?? [];
  if (echoed !== nonce || binding !== Buffer.from(header).toString("base64")) return null;
  const authMessage = `${bare},${serverFirst},${withoutProof}`;
  const signature = hmac(verifier.storedKey, authMessage);
  const given = Buffer.from(proof, "base64");
  if (given.length !== signature.length) return null;
  const clientKey = given.map((byte, i) => byte ^ signature[i]);
  if (!crypto.timingSafeEqual(sha256(clientKey), verifier.storedKey)) return null;
  return `v=${hmac(verifier.serverKey, authMessage).toString("base64")}`;
}

const hmac = (key, text) => crypto.createHmac("sha256", key).update(text).digest();
const sha256 = (bytes) => crypto.createHash("sha256").update(bytes).digest();
