// Time and chance. A component has no clock, and the engine's own would trap; the gateway tells the time with each call.
// It stands still during a call. Chance begins anew with each call, seeded by the call's id.

const EngineDate = Date;
let now;
let seed = 0;
let unmixed = ''; // the id of a call that has not asked for chance yet

/** Sets the clock for the call that begins. */
export function begin({ now: time, callId }) {
  now = time;
  unmixed = callId;
}

/** Mixes the call's id into the seed. */
function sow() {
  for (const char of unmixed) seed = Math.imul(seed ^ char.charCodeAt(0), 0x01000193) >>> 0;
  unmixed = '';
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
  if (unmixed) sow();
  seed = (seed + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};

delete globalThis.performance;
