// A webhook receiver: checks the signature, drops what it has seen, prints the message. Node.js 18 or newer, no packages.
//
//   WEBHOOK_SECRET=whsec_… node receiver.mjs
//
// The secret is the answer of GET /api/sessions/{id}/webhook. Optional: HOST (127.0.0.1), PORT (3000).
// The signature is Standard Webhooks 1.0: HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const TOLERANCE_S = 5 * 60;
const MOST_BYTES = 1024 * 1024;
const REMEMBERED = 100_000;

const secret = process.env.WEBHOOK_SECRET ?? '';
const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
if (!secret.startsWith('whsec_') || key.length === 0) {
  console.error('set WEBHOOK_SECRET to the whsec_… that GET /api/sessions/{id}/webhook answers');
  process.exit(2);
}

// Ids of deliveries that were dealt with. Here they are forgotten at a restart; keep them in your database, under a
// unique key and in the same transaction as your own work, and every message counts exactly once.
const seen = new Set();

function isGenuine(headers, body) {
  const id = headers['webhook-id'];
  const timestamp = headers['webhook-timestamp'];
  if (!id || !/^\d{1,12}$/.test(timestamp ?? '')) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) return false;
  const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
  // While a secret is being changed there are several signatures.
  return (headers['webhook-signature'] ?? '').split(' ').some((signature) => {
    const [version, value] = signature.split(',', 2);
    const given = Buffer.from(value ?? '', 'base64');
    return version === 'v1' && given.length === expected.length && timingSafeEqual(given, expected);
  });
}

// Your own work. If it throws, the gateway tries again later.
function handle({ session_id, message, type }) {
  // What is no message says what it is: a test event (webhook.test), for instance.
  if (!message) return console.log(`${session_id}: ${type}`);
  console.log(`${session_id}: ${message.from}: ${message.message}`);
}

async function receive(request) {
  if (request.method !== 'POST') return 405;
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length <= MOST_BYTES) chunks.push(chunk);
  }
  if (length > MOST_BYTES) return 413;
  // The signature covers these bytes; JSON parsed and written again may differ.
  const body = Buffer.concat(chunks);
  if (!isGenuine(request.headers, body)) return 401;
  const id = request.headers['webhook-id'];
  if (seen.has(id)) return 200;
  handle(JSON.parse(body.toString('utf8')));
  seen.add(id);
  if (seen.size > REMEMBERED) seen.delete(seen.values().next().value);
  return 200;
}

const server = createServer(async (request, response) => {
  const status = await receive(request).catch((error) => {
    console.error(error);
    return 500;
  });
  response.writeHead(status).end();
});
server.listen(Number(process.env.PORT ?? 3000), process.env.HOST ?? '127.0.0.1', () => {
  const { address, port } = server.address();
  console.log(`listening on http://${address}:${port}/webhook`);
});
