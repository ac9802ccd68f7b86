// Deliveries, for the script's transform: the contract's record as a friendly object, and its answer as an outcome.
import { changes, isBytes, json, members, show, text } from './answer.js';
import { Refusal } from './failure.js';

const CHANGES = ['body', 'contentType', 'headers', 'pathSuffix'];
const JSON_TYPE = /^application\/([a-z0-9.+-]+\+)?json\b/i;

/** The delivery as a script sees it. Event and body are parsed when they are first looked at. */
export function friendly(delivery) {
  return {
    eventType: delivery.eventType,
    eventId: delivery.eventId,
    session: delivery.session,
    endpointId: delivery.endpointId,
    endpointName: delivery.endpointName,
    occurredAt: delivery.occurredAt,
    contentType: delivery.contentType,
    headers: Object.fromEntries(delivery.headers.map(({ name, value }) => [name, value])),
    get event() {
      return remember(this, 'event', JSON.parse(delivery.event));
    },
    get body() {
      return remember(this, 'body', content(delivery.body));
    },
  };
}

function remember(object, name, value) {
  Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
  return value;
}

/** Bytes as they are, JSON parsed, any other text as it is. */
function content({ tag, val }) {
  if (tag === 'binary') return val;
  try {
    return JSON.parse(val);
  } catch {
    return val;
  }
}

/** The outcome that a script's answer means. */
export function outcome(answer, delivery) {
  const given = members('transform', answer, ['cancel', ...CHANGES]);
  if (!given?.length) return { tag: 'pass' };
  if (!given.includes('cancel')) return modified(answer, delivery);
  if (given.length > 1) throw new Refusal(`transform returned 'cancel' beside other members; it stands alone`);
  return { tag: 'cancel', val: text('cancel (the reason)', answer.cancel) };
}

function modified(answer, delivery) {
  const headers = changes('headers', answer.headers);
  return {
    tag: 'modify',
    val: {
      body: answer.body === undefined ? null : body(answer.body),
      contentType: contentType(answer, delivery),
      setHeaders: headers.set.map(({ name, value }) => ({ name: name.toLowerCase(), value })),
      removeHeaders: headers.remove.map((name) => name.toLowerCase()),
      pathSuffix: answer.pathSuffix === undefined ? null : text('pathSuffix', answer.pathSuffix),
    },
  };
}

function body(value) {
  if (isBytes(value)) return { tag: 'binary', val: value };
  if (typeof value === 'string') return { tag: 'text', val: value.toWellFormed() };
  if (typeof value !== 'object' || value === null) {
    throw new Refusal(`body must be an object, a text or a Uint8Array, not ${show(value)}`);
  }
  return { tag: 'text', val: json('body', value) };
}

/** What the script says; JSON for an object where something else stood before; else what is there. */
function contentType(answer, delivery) {
  if (answer.contentType !== undefined) return text('contentType', answer.contentType);
  const isObject = typeof answer.body === 'object' && !isBytes(answer.body);
  return isObject && !JSON_TYPE.test(delivery.contentType) ? 'application/json' : null;
}
