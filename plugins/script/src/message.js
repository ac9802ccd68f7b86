// Messages, for the script's onMessage: the contract's record as a flat object, and its answer as a verdict.
import { changes, members, text, whole } from './answer.js';
import { Refusal } from './failure.js';

const DECISIONS = ['accept', 'drop', 'defer'];
const ANSWERS = [...DECISIONS, 'detail', 'text', 'chat', 'labels', 'routeTo'];
const ORDINARY = { configurable: true, enumerable: true, writable: true };
const HOUR = 3_600_000;

/** The message as a script sees it. */
export function friendly(message) {
  const { tag, val } = message.content;
  return {
    id: message.id,
    eventId: message.eventId,
    session: message.session,
    chat: message.chat,
    sender: message.sender,
    senderAlt: message.senderAlt,
    senderName: message.senderName,
    direction: message.direction,
    isGroup: message.isGroup,
    backfill: message.backfill,
    sentAt: message.sentAt,
    kind: tag === 'media' || tag === 'other' ? val.kind : tag,
    text: words(tag, val),
    media: tag === 'media' ? { mime: val.mime, size: val.size, fileName: val.fileName } : null,
    labels: object(message.labels),
  };
}

function object(pairs) {
  const members = {};
  // Not by assignment: a label may be called __proto__.
  for (const { name, value } of pairs) Object.defineProperty(members, name, { value, ...ORDINARY });
  return members;
}

/** Text, caption, emoji, or what another kind says; null when it says nothing. */
function words(tag, content) {
  switch (tag) {
    case 'text':
      return content.body;
    case 'media':
      return content.caption;
    case 'reaction':
      return content.emoji;
    default:
      return content.text;
  }
}

/** The verdict that a script's answer means. */
export function verdict(answer) {
  const given = members('onMessage', answer, ANSWERS);
  if (!given?.length) return { tag: 'pass' };
  const decision = decisionOf(given);
  if (!decision && given.includes('detail')) throw new Refusal("onMessage returned 'detail', which belongs to 'drop'");
  if (!decision) return modified(answer);
  const stray = given.find((name) => name !== decision && !(decision === 'drop' && name === 'detail'));
  if (stray) throw new Refusal(`onMessage returned '${decision}' and '${stray}'; they exclude each other`);
  return decided(decision, answer);
}

function decisionOf(given) {
  for (const name of DECISIONS) if (given.includes(name)) return name;
  return undefined;
}

function decided(decision, answer) {
  switch (decision) {
    case 'accept':
      if (answer.accept !== true) throw new Refusal("onMessage returned 'accept'; it can only be true");
      return { tag: 'accept' };
    case 'drop':
      return {
        tag: 'drop',
        val: {
          code: code(answer.drop),
          detail: answer.detail == null ? null : text('detail', answer.detail),
        },
      };
    default:
      return { tag: 'defer', val: whole('defer (milliseconds)', answer.defer, HOUR) };
  }
}

function code(value) {
  if (typeof value !== 'string' || !/^[a-z0-9._-]{1,64}$/.test(value)) {
    throw new Refusal("drop must be a short name to count by, such as 'spam': 1 to 64 of a-z 0-9 . _ -");
  }
  return value;
}

function modified(answer) {
  const labels = changes('labels', answer.labels);
  return {
    tag: 'modify',
    val: {
      text: answer.text === undefined ? null : text('text', answer.text),
      chat: answer.chat === undefined ? null : text('chat', answer.chat),
      setLabels: labels.set,
      removeLabels: labels.remove,
      routeTo: answer.routeTo === undefined ? null : endpoints(answer.routeTo),
    },
  };
}

function endpoints(value) {
  if (!Array.isArray(value)) throw new Refusal("routeTo must be a list of endpoint names, such as ['billing']");
  return value.map((name, at) => text(`routeTo[${at}]`, name));
}
