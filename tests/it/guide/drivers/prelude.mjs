// What the guide's samples take for granted: a token, relative addresses, a page with a canvas, an Express app, the
// reader's own functions. What goes through here is kept, so that a driver can tell of it.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

if (!globalThis.WebSocket) throw new Error('the samples need Node.js 20.10 or newer, which has WebSocket');

const given = JSON.parse(process.env.GUIDE);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// For the drivers.
globalThis.tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
globalThis.wordFromTest = () => lines.next();
globalThis.until = async (holds) => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20));
};

// The console.
globalThis.logged = [];
globalThis.complained = [];
console.log = (...words) => logged.push(words);
console.error = (...words) => complained.push(words);

// A page is served by the gateway, so its addresses are relative to it.
const absolute = globalThis.fetch;
globalThis.exchanges = [];
globalThis.fetch = async (address, options) => {
  const url = new URL(address, given.base);
  const answer = await absolute(url, options);
  const body = await answer.clone().json();
  exchanges.push({ method: options?.method ?? 'GET', path: url.pathname, status: answer.status, body });
  return answer;
};

// The page. Nothing is loaded: an image's address is kept, not fetched.
const elements = new Map();
globalThis.document = {
  getElementById(id) {
    if (!elements.has(id)) elements.set(id, { id });
    return elements.get(id);
  },
};
globalThis.drawn = [];

// Timers that repeat must not keep a test alive.
const repeat = globalThis.setInterval;
globalThis.intervals = [];
globalThis.setInterval = (work, every) => {
  intervals.push(every);
  return repeat(work, every).unref();
};

// Logging in.
globalThis.token = given.token;
globalThis.refreshToken = async () => {
  const answer = await fetch('/api/login', {
    method: 'POST',
    body: JSON.stringify({ username: 'admin', password: 'admin' }),
  });
  globalThis.token = (await answer.json()).token;
};

// As much of Express as the webhook sample uses, over a real server.
const routes = new Map();
globalThis.express = {
  json: () => async (request, response, next) => {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    request.body = JSON.parse(text);
    next();
  },
};
globalThis.app = {
  post(path, ...handlers) {
    routes.set(path, handlers);
  },
};
globalThis.listen = async () => {
  const server = createServer((request, response) => {
    response.status = (code) => Object.assign(response, { statusCode: code });
    response.send = (text) => response.end(text);
    const handlers = request.method === 'POST' ? (routes.get(request.url) ?? []) : [];
    const step = (n) => (handlers[n] ? handlers[n](request, response, () => step(n + 1)) : response.status(404).end());
    step(0);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return server.address().port;
};
globalThis.processed = [];
globalThis.processIncomingMessage = (session, message) => processed.push({ session, message });
