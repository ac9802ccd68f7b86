// The parts of the plugin that need no gateway, in Node. The rest runs as a component, in the gateway's own tests.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { friendly as delivered, outcome } from '../src/delivery.js';
import { configError, hookError, Refusal } from '../src/failure.js';
import { friendly, verdict } from '../src/message.js';
import { load } from '../src/program.js';

// The engine has it; Node 18, which Debian 12 has, does not.
String.prototype.toWellFormed ??= function () {
  return Buffer.from(String(this)).toString();
};

const refused = (run, words) => assert.throws(run, (error) => error instanceof Refusal && error.message.includes(words));

test('nothing, or an empty object, passes', () => {
  for (const answer of [undefined, null, {}, { text: undefined }]) assert.deepEqual(verdict(answer), { tag: 'pass' });
  assert.deepEqual(outcome(undefined, {}), { tag: 'pass' });
});

test('decisions', () => {
  assert.deepEqual(verdict({ accept: true }), { tag: 'accept' });
  assert.deepEqual(verdict({ drop: 'spam' }), { tag: 'drop', val: { code: 'spam', detail: null } });
  assert.deepEqual(verdict({ drop: 'spam', detail: 'why' }), { tag: 'drop', val: { code: 'spam', detail: 'why' } });
  assert.deepEqual(verdict({ defer: 5000 }), { tag: 'defer', val: 5000 });
});

test('changes of a message', () => {
  const changed = verdict({ text: 'a\ud800', labels: { a: 'b', n: 1, gone: null }, routeTo: [] });
  assert.deepEqual(changed, {
    tag: 'modify',
    val: {
      text: 'a\ufffd',
      chat: null,
      setLabels: [{ name: 'a', value: 'b' }, { name: 'n', value: '1' }],
      removeLabels: ['gone'],
      routeTo: [],
    },
  });
});

test('a wrong answer is refused with words', () => {
  for (const [answer, words] of [
    ['drop', 'onMessage returned "drop"'],
    [true, 'return nothing, or an object'],
    [[1], 'a list'],
    [{ txet: 'a' }, '"txet"'],
    [{ text: 5 }, 'text must be a text, not 5'],
    [{ drop: true }, "such as 'spam'"],
    [{ drop: 'a', text: 'b' }, 'exclude each other'],
    [{ accept: false }, 'only be true'],
    [{ detail: 'x' }, "belongs to 'drop'"],
    [{ defer: -1 }, 'a whole number from 0 to 3600000'],
    [{ routeTo: 'billing' }, 'list of endpoint names'],
    [{ labels: { a: {} } }, 'labels.a must be'],
  ]) {
    refused(() => verdict(answer), words);
  }
  for (const [answer, words] of [
    [{ body: 5 }, 'body must be'],
    [{ cancel: true }, 'cancel (the reason) must be a text'],
    [{ cancel: 'x', body: 'y' }, 'stands alone'],
    [{ headers: [] }, 'headers must be an object'],
  ]) {
    refused(() => outcome(answer, { contentType: '' }), words);
  }
});

test('bodies of a webhook', () => {
  const body = (answer, contentType = 'application/json') => {
    const { val } = outcome(answer, { contentType });
    return [val.body, val.contentType];
  };
  assert.deepEqual(body({ body: { a: 1 } }), [{ tag: 'text', val: '{"a":1}' }, null]);
  assert.deepEqual(body({ body: { a: 1 } }, 'text/csv'), [{ tag: 'text', val: '{"a":1}' }, 'application/json']);
  assert.deepEqual(body({ body: 'a,b', contentType: 'text/csv' }), [{ tag: 'text', val: 'a,b' }, 'text/csv']);
  assert.deepEqual(body({ body: new Uint8Array([1]) })[0], { tag: 'binary', val: new Uint8Array([1]) });
  assert.deepEqual(outcome({ headers: { 'X-A': 1, 'X-B': null } }, {}).val, {
    body: null,
    contentType: null,
    setHeaders: [{ name: 'x-a', value: '1' }],
    removeHeaders: ['x-b'],
    pathSuffix: null,
  });
});

test('a message is flat, whatever it carries', () => {
  const labels = [{ name: 'a', value: 'b' }];
  const media = { kind: 'image', mime: 'image/png', size: 5, fileName: null, caption: 'hi' };
  const picture = friendly({ id: '1', content: { tag: 'media', val: media }, labels });
  assert.equal(picture.kind, 'image');
  assert.equal(picture.text, 'hi');
  assert.deepEqual(picture.media, { mime: 'image/png', size: 5, fileName: null });
  assert.deepEqual(picture.labels, { a: 'b' });
  const other = friendly({ content: { tag: 'other', val: { kind: 'poll', text: null } }, labels: [] });
  assert.deepEqual([other.kind, other.text, other.media], ['poll', null, null]);
});

test('event and body are parsed when they are looked at', () => {
  const raw = { headers: [{ name: 'x', value: 'y' }], event: '{"id":"evt_1"}', body: { tag: 'text', val: 'plain' } };
  const delivery = delivered(raw);
  assert.deepEqual([delivery.event.id, delivery.body, delivery.headers], ['evt_1', 'plain', { x: 'y' }]);
  delivery.event.id = 'changed';
  assert.equal(delivery.event.id, 'changed');
});

test('a script is refused when it cannot run', () => {
  assert.equal(load('const transform = () => 1').transform(), 1);
  refused(() => load(undefined), 'script: must be a text');
  refused(() => load('var x = 1'), 'defines neither');
  refused(() => load('export function onMessage() {}'), 'without export');
  refused(() => load('async function onMessage() {}'), 'not async');
  refused(() => load('let onMessage = 5'), 'must be a function');
  assert.throws(() => load('function onMessage( {'), SyntaxError);
});

test('anything thrown becomes an error of the contract', () => {
  const again = Object.assign(new Error('later'), { retryable: true });
  assert.deepEqual(hookError(again), { tag: 'retryable', val: 'Error: later' });
  assert.deepEqual(hookError('x'), { tag: 'fatal', val: 'x' });
  assert.deepEqual(hookError({ message: 'words' }), { tag: 'fatal', val: 'words' });
  assert.deepEqual(hookError(null), { tag: 'fatal', val: 'null' });
  const hostile = { get message() { throw hostile; }, get retryable() { throw hostile; } };
  assert.deepEqual(hookError(hostile), { tag: 'fatal', val: 'the script threw something that cannot be shown' });
  assert.deepEqual(hookError({ stack: 'at f (<input>:7:1)', message: 'm' }).val, 'm (line 7 of the script)');
  assert.deepEqual(configError(new Refusal('script: x')), { tag: 'config', val: 'script: x' });
  assert.deepEqual(configError(new TypeError('x')), { tag: 'config', val: 'script: TypeError: x' });
});
