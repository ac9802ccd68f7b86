// Time and chance. A component has no clock, and the engine's own would trap; the gateway tells the time with each call.
// It stands still during a call. Chance begins anew with each call, seeded by the call's id.

const EngineDate = Date;
let now;
let seed = 0;

/** Sets the clock for the call that begins. */
export function begin(context) {
  now = context.now;
  for (const char of context.callId) seed = Math.imul(seed ^ char.charCodeAt(0), 0x01000193) >>> 0;
}

function tell() {
  if (now === undefined) {
    throw new Error('there is no clock while the script is loaded; ask for the time inside onMessage or transform');
  }
  return now;
}

globalThis.Date = class Date extends EngineDate {
  constructor(...parts) {
    super(...(parts.length ? parts : [tell()]));
  }

  static now() {
    return tell();
  }
};

/** Mulberry32: small, and good enough to pick one of a few. Not for secrets. */
Math.random = () => {
  seed = (seed + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};

delete globalThis.performance;
