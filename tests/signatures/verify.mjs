// Judges signatures of ours: the reference library of Standard Webhooks those by a secret (`v1`), Node's own
// cryptography those by a key pair (`v1a`).
//
// In: one request a line, {"key", "headers", "body"}; the key is `whsec_…`, `whpk_…`, or the seed behind that, `whsk_…`;
// the body is in base64. Out: a line for each, `ok` or why it is not genuine.
import { createPrivateKey, createPublicKey, verify } from 'node:crypto';
import { createInterface } from 'node:readline';
import { Webhook } from 'standardwebhooks';

// What PKCS #8 writes before an ed25519 seed (RFC 8410).
const BEFORE_SEED = Buffer.from('302e020100300506032b657004220420', 'hex');

function publicKey(key) {
  const bytes = Buffer.from(key.slice('whpk_'.length), 'base64');
  if (key.startsWith('whsk_')) {
    const seed = Buffer.concat([BEFORE_SEED, bytes]);
    return createPublicKey(createPrivateKey({ key: seed, format: 'der', type: 'pkcs8' }));
  }
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: bytes.toString('base64url') }, format: 'jwk' });
}

function judge({ key, headers, body }) {
  const bytes = Buffer.from(body, 'base64');
  if (key.startsWith('whsec_')) {
    new Webhook(key).verify(bytes, headers, { jsonParse: false });
    return;
  }
  const signed = Buffer.concat([Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.`), bytes]);
  const theirs = headers['webhook-signature'].split(' ').map((one) => one.split(',', 2));
  const genuine = theirs.some(
    ([version, value]) => version === 'v1a' && verify(null, signed, publicKey(key), Buffer.from(value, 'base64')),
  );
  if (!genuine) throw new Error('no signature by this key');
}

for await (const line of createInterface({ input: process.stdin })) {
  let verdict = 'ok';
  try {
    judge(JSON.parse(line));
  } catch (error) {
    verdict = String(error.message).replaceAll('\n', ' ');
  }
  process.stdout.write(`${verdict}\n`);
}
