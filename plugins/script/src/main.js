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

/** Runs one of the script's functions on what the gateway asks about. */
function call(name, context, ask, read) {
  const script = loaded();
  if (!script[name]) return read(undefined);
  clock.begin(context);
  const { log, kv, http, outbox } = capabilities;
  const { attempt, dryRun, now } = context;
  const api = { log, kv, http, outbox, config: script.config, attempt, dryRun, now };
  const answer = script[name](ask(), api);
  if (typeof answer?.then === 'function') {
    throw new Refusal(`${name} returned a promise; write it without async, everything in api answers at once`);
  }
  return read(answer);
}

/** Turns whatever is thrown into what the contract knows. */
function guarded(toError, run) {
  try {
    return run();
  } catch (thrown) {
    throw toError(thrown);
  }
}

export const lifecycle = {
  describe: () => ({
    name: 'script',
    version: '1.0.0',
    description: 'Runs a JavaScript pasted into the gateway',
    wants: ['log', 'kv'],
  }),
  init: () => guarded(configError, () => void loaded()),
};

export const messageFilter = {
  onMessage: (context, asked) =>
    guarded(hookError, () => call('onMessage', context, () => message.friendly(asked), message.verdict)),
};

export const webhookTransform = {
  transform: (context, asked) =>
    guarded(hookError, () =>
      call('transform', context, () => delivery.friendly(asked), (answer) => delivery.outcome(answer, asked)),
    ),
};
