// Reading what a script returned. Whatever is not exactly what the contract knows is refused with words that say what is
// wrong, because a value of the wrong shape would trap.
import { Refusal } from './failure.js';

/** The answer as an object with these members only; `undefined` when there is none. */
export function members(hook, answer, known) {
  if (answer === undefined || answer === null) return undefined;
  if (typeof answer !== 'object' || Array.isArray(answer)) {
    throw new Refusal(`${hook} returned ${show(answer)}; return nothing, or an object with ${list(known)}`);
  }
  const given = [];
  for (const name of Object.keys(answer)) {
    if (answer[name] === undefined) continue;
    if (!known.includes(name)) {
      throw new Refusal(`${hook} returned an object with ${show(name)}; there are only ${list(known)}`);
    }
    given.push(name);
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
  const remove = [];
  const set = pairs(where, object, remove);
  return { set, remove };
}

/** The members of a plain object as pairs. With a list for them, the names of those that are null go there. */
export function pairs(where, object, nulls) {
  const found = [];
  if (object === undefined) return found;
  if (object === null || typeof object !== 'object' || Array.isArray(object)) {
    throw new Refusal(`${where} must be an object of names and values, not ${show(object)}`);
  }
  for (const name of Object.keys(object)) {
    const value = object[name];
    if (value === undefined) continue;
    if (value === null && nulls) nulls.push(name.toWellFormed());
    else found.push({ name: name.toWellFormed(), value: scalar(`${where}.${name}`, value) });
  }
  return found;
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
