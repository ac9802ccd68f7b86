// What a script may do: log, kv, http, outbox, in the manner of JavaScript. The gateway refuses what is not granted.
import * as hostHttp from 'wagate:plugin/http@1.0.0';
import * as hostKv from 'wagate:plugin/kv@1.0.0';
import * as hostLog from 'wagate:plugin/log@1.0.0';
import * as hostOutbox from 'wagate:plugin/outbox@1.0.0';

import { isBytes, json, pairs, scalar, show, text, whole } from './answer.js';
import { Refusal } from './failure.js';
import { decode, encode } from './utf8.js';

const METHODS = ['get', 'post', 'put', 'patch', 'delete', 'head'];
const AGAIN = ['timeout', 'connect'];
const WORDS = { conflict: 'the value is no number' };
const OPTIONS = ['method', 'url', 'headers', 'body', 'timeoutMs'];

/** A refusal by the gateway, as the script sees it. */
class Refused extends Error {
  constructor(what, { tag, val }) {
    super([what, WORDS[tag] ?? tag.replaceAll('-', ' '), val].filter((part) => part !== undefined).join(': '));
    this.code = tag;
    this.retryable = AGAIN.includes(tag);
  }
}

function ask(what, run) {
  try {
    return run();
  } catch (thrown) {
    if (thrown?.payload?.tag === undefined) throw thrown;
    throw new Refused(what, thrown.payload);
  }
}

const line = (level) => (message, fields) => hostLog.log(level, shown(message), fields == null ? [] : shownFields(fields));
const shown = (value) => (typeof value === 'string' ? value : (JSON.stringify(value) ?? show(value))).toWellFormed();
const shownFields = (fields) => Object.entries(fields).map(([name, value]) => ({ name: shown(name), value: shown(value) }));

const log = Object.freeze({ debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') });

const keyOf = (what, key) => text(`${what}: key`, key);
const valueOf = (what, value) => encode(scalar(`${what}: value`, value));
const ttl = (what, value) => (value == null ? null : whole(`${what}: ttlMs`, value, Number.MAX_SAFE_INTEGER));

const kv = Object.freeze({
  /** The value, a text; `null` when there is none. */
  get(key) {
    const value = ask('kv.get', () => hostKv.get(keyOf('kv.get', key)));
    return value == null ? null : decode(value);
  },
  set(key, value, ttlMs) {
    ask('kv.set', () => hostKv.set(keyOf('kv.set', key), valueOf('kv.set', value), ttl('kv.set', ttlMs)));
  },
  delete(key) {
    ask('kv.delete', () => hostKv.delete(keyOf('kv.delete', key)));
  },
  /** Adds to a number, which is 0 when it is not there, and answers the sum. */
  increment(key, delta = 1, ttlMs = null) {
    const what = 'kv.increment';
    if (!Number.isSafeInteger(delta)) throw new Refusal(`${what}: delta must be a whole number, not ${show(delta)}`);
    return ask(what, () => hostKv.increment(keyOf(what, key), delta, ttl(what, ttlMs)));
  },
  /** Whether it was set: `false` when another value stands there than expected. `null` expects none. */
  compareAndSet(key, expected, value) {
    const what = 'kv.compareAndSet';
    const wanted = expected == null ? null : valueOf(what, expected);
    try {
      ask(what, () => hostKv.compareAndSet(keyOf(what, key), wanted, valueOf(what, value)));
      return true;
    } catch (refused) {
      if (refused.code === 'conflict') return false;
      throw refused;
    }
  },
});

const http = Object.freeze({
  send(options) {
    const unknown = Object.keys(options ?? {}).find((name) => !OPTIONS.includes(name));
    if (unknown !== undefined) throw new Refusal(`http.send: there is no option ${show(unknown)}`);
    const answer = ask('http.send', () => hostHttp.send(request(options ?? {})));
    return {
      status: answer.status,
      headers: Object.fromEntries(answer.headers.map(({ name, value }) => [name, value])),
      bytes: answer.body,
      get text() {
        return decode(answer.body);
      },
      json() {
        return JSON.parse(this.text);
      },
    };
  },
});

/** An object as body is sent as JSON; a body without a method is a POST. */
function request({ method, url, headers, body, timeoutMs }) {
  const verb = String(method ?? (body == null ? 'get' : 'post')).toLowerCase();
  if (!METHODS.includes(verb)) throw new Refusal(`http.send: method must be one of ${METHODS.join(', ')}, not ${verb}`);
  const isJson = body != null && typeof body === 'object' && !isBytes(body);
  const given = pairs('http.send: headers', headers).map(({ name, value }) => ({ name: name.toLowerCase(), value }));
  const isTyped = given.some(({ name }) => name === 'content-type');
  return {
    method: verb,
    url: text('http.send: url', url),
    headers: isJson && !isTyped ? [...given, { name: 'content-type', value: 'application/json' }] : given,
    body: body == null ? null : bytes(body, isJson),
    timeoutMs: timeoutMs == null ? null : whole('http.send: timeoutMs', timeoutMs, 600_000),
  };
}

function bytes(body, isJson) {
  if (isBytes(body)) return body;
  return encode(isJson ? json('http.send: body', body) : scalar('http.send: body', body));
}

const draft = (what, words) => ({ text: text(`${what}: text`, words) });

const outbox = Object.freeze({
  reply: (words) => ask('outbox.reply', () => hostOutbox.reply(draft('outbox.reply', words))),
  send: (chat, words) =>
    ask('outbox.send', () => hostOutbox.send(text('outbox.send: chat', chat), draft('outbox.send', words))),
  emit(type, payload = null) {
    const what = 'outbox.emit';
    ask(what, () => hostOutbox.emitEvent(text(`${what}: type`, type), json(`${what}: payload`, payload)));
  },
});

/** The part of `api` that is the same for every call. */
export const capabilities = Object.freeze({ log, kv, http, outbox });

const joined = (level) => (...parts) => hostLog.log(level, parts.map(shown).join(' '), []);

globalThis.console = Object.freeze({
  log: joined('info'),
  debug: joined('debug'),
  info: joined('info'),
  warn: joined('warn'),
  error: joined('error'),
});
