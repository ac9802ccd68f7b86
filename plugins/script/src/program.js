// The user's script, from source text to functions.
//
// It is evaluated as a script of its own, globally and sloppily, so that line 1 of an error is line 1 of what the user
// pasted. What it defines is read within the same evaluation: `const onMessage = …` is not seen from outside.
import { Refusal, lineOf } from './failure.js';

const HOOKS = ['onMessage', 'transform'];
const evaluate = eval; // called by another name, it evaluates globally

/** The functions the script defines: `{onMessage?, transform?}`. Throws when there are none. */
export function load(source) {
  if (typeof source !== 'string') throw new Refusal('script: must be a text, the source of the script');
  if (/^\s*(export|import)\b/m.test(source) && !parses(source)) {
    throw new Refusal("script: is no module; write 'function onMessage(message, api) { … }' without export or import");
  }
  const [onMessage, transform] = defined(source);
  const hooks = { onMessage: hook('onMessage', onMessage), transform: hook('transform', transform) };
  if (!hooks.onMessage && !hooks.transform) {
    throw new Refusal('script: defines neither onMessage(message, api) nor transform(delivery, api)');
  }
  return hooks;
}

/** Evaluates the script and a line of our own behind it, which answers what it defines. */
function defined(source) {
  try {
    return evaluate(`${source}\n;[${HOOKS.map(orUndefined)}]`);
  } catch (thrown) {
    const isOurLine = lineOf(thrown?.stack) > source.split('\n').length;
    throw isOurLine ? new Refusal(`script: ends too early: ${thrown.message}`) : thrown;
  }
}

const orUndefined = (name) => `typeof ${name} === 'undefined' ? undefined : ${name}`;

function parses(source) {
  try {
    new Function(source);
    return true;
  } catch {
    return false;
  }
}

function hook(name, value) {
  if (value === undefined) return undefined;
  if (typeof value !== 'function') throw new Refusal(`script: ${name} must be a function`);
  if (Object.prototype.toString.call(value) !== '[object Function]') {
    throw new Refusal(`script: ${name} must be an ordinary function, not async; everything in api answers at once`);
  }
  return value;
}
