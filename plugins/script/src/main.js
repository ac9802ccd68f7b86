// Script: runs the JavaScript its configuration holds in the member `script`, so that an operator can paste a plugin.
//
// The script defines onMessage(message, api), transform(delivery, api) or both; plugins/README.md shows all there is.
// The gateway ships this component, so nothing is compiled when a script is pasted.
//
// Invariant: no exception leaves this file but as the contract's plugin-error. Any other would be a bare trap, which
// tells the operator nothing.
import { getJson } from 'wagate:plugin/config@1.0.0';

import { capabilities } from './api.js';
import * as clock from './clock.js';
import * as delivery from './delivery.js';
import { Refusal, configError, hookError } from './failure.js';
import * as message from './message.js';
import { load } from './program.js';

let program;

/** The script, read once an instance, and what it may use. */
function loaded() {
  if (!program) {
    const { script, ...config } = JSON.parse(getJson());
    program = { ...load(script), config };
  }
  return program;
}

/** What one of the script's functions answers; `given` is what the gateway asks about, made friendly. */
function answered(name, hook, context, given) {
  clock.begin(context);
  const { log, kv, http, outbox } = capabilities;
  const { attempt, dryRun, now } = context;
  const answer = hook(given, { log, kv, http, outbox, config: program.config, attempt, dryRun, now });
  if (answer !== undefined && answer !== null && typeof answer.then === 'function') {
    throw new Refusal(`${name} returned a promise; write it without async, everything in api answers at once`);
  }
  return answer;
}

export const lifecycle = {
  describe: () => ({
    name: 'script',
    version: '1.0.0',
    description: 'Runs a JavaScript pasted into the gateway',
    wants: ['log', 'kv'],
  }),
  init() {
    try {
      loaded();
    } catch (thrown) {
      throw configError(thrown);
    }
  },
};

export const messageFilter = {
  onMessage(context, asked) {
    try {
      const { onMessage } = loaded();
      const answer = onMessage && answered('onMessage', onMessage, context, message.friendly(asked));
      return message.verdict(answer);
    } catch (thrown) {
      throw hookError(thrown);
    }
  },
};

export const webhookTransform = {
  transform(context, asked) {
    try {
      const { transform } = loaded();
      const answer = transform && answered('transform', transform, context, delivery.friendly(asked));
      return delivery.outcome(answer, asked);
    } catch (thrown) {
      throw hookError(thrown);
    }
  },
};
