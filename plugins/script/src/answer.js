// Reading what a script returned. Whatever is not exactly what the contract knows is refused with words that say what is
// wrong, because a value of the wrong shape would trap.
import { Refusal } from './failure.js';

/** The answer as an object with these members only; `undefined` when there is none. */
export function members(hook, answer, known) {
  if (answer === undefined || answer === null) return undefined;
  if (typeof answer !== 'object' || Array.isArray(answer)) {
    throw new Refusal(`${hook} returned ${show(answer)}; return nothing, or an object with ${list(known)}`);
  }
  const given = Object.keys(answer).filter((name) => answer[name] !== undefined);
  const unknown = given.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new Refusal(`${hook} returned an object with ${show(unknown)}; there are only ${list(known)}`);
  }
  return given;
}

/** A text, without halves of surrogate pairs, which no other language could read. */
export function text(where, value) {
  if (typeof value !== 'string') throw new Refusal(`${where} must be a text, not ${show(value)}`);
  return value.toWellFormed();
}

/** A text, or a number or a boolean written as one. */
export function scalar(where, value) {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (typeof value !== 'string') throw new Refusal(`${where} must be a text, a number or true or false, not ${show(value)}`);
  return value.toWellFormed();
}

/** A value written as JSON. */
export function json(where, value) {
  const written = JSON.stringify(value);
  if (written === undefined) throw new Refusal(`${where} must be a JSON value, not ${show(value)}`);
  return written;
}

/** Whether it is bytes, and does not only look like them. */
export function isBytes(value) {
  return value instanceof Uint8Array && ArrayBuffer.isView(value);
}

/** A whole number from 0 up to a limit. */
export function whole(where, value, limit) {
  if (!Number.isInteger(value) || value < 0 || value > limit) {
    throw new Refusal(`${where} must be a whole number from 0 to ${limit}, not ${show(value)}`);
  }
  return value;
}

/** A plain object whose members are to be set, or, where they are null, taken away: `{set: [pair], remove: [name]}`. */
export function changes(where, object) {
  const entries = pairs(where, object, (value) => value === null);
  return {
    set: entries.filter(({ value }) => value !== null),
    remove: entries.filter(({ value }) => value === null).map(({ name }) => name),
  };
}

/** The members of a plain object as pairs; those that `keep` names keep their value as it is. */
export function pairs(where, object, keep = () => false) {
  if (object === undefined) return [];
  if (object === null || typeof object !== 'object' || Array.isArray(object)) {
    throw new Refusal(`${where} must be an object of names and values, not ${show(object)}`);
  }
  return Object.entries(object)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ({
      name: name.toWellFormed(),
      value: keep(value) ? value : scalar(`${where}.${name}`, value),
    }));
}

/** A value in the words of an error. */
export function show(value) {
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  return String(value);
}

function list(names) {
  return names.map((name) => `'${name}'`).join(', ');
}
