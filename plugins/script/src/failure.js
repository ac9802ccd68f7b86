// Failures: from whatever a script throws to the contract's plugin-error, in words its author understands.

/** What is wrong with the script or its answer, found by us and not thrown by it. */
export class Refusal extends Error {}

/** From `init`: refuses the configuration. */
export function configError(thrown) {
  const words = explain(thrown);
  return { tag: 'config', val: words.startsWith('script: ') ? words : `script: ${words}` };
}

/** From a hook: `retryable` when the script says so, else `fatal`. */
export function hookError(thrown) {
  return { tag: isRetryable(thrown) ? 'retryable' : 'fatal', val: explain(thrown) };
}

function isRetryable(thrown) {
  try {
    return thrown?.retryable === true;
  } catch {
    return false;
  }
}

/** Message and line. What is thrown may be anything, even something that throws when it is looked at. */
function explain(thrown) {
  try {
    const line = lineOf(thrown?.stack);
    const isOurs = thrown instanceof Refusal || !(thrown instanceof Error);
    const words = (isOurs && typeof thrown?.message === 'string' ? thrown.message : String(thrown)).toWellFormed();
    return line ? `${words} (line ${line} of the script)` : words;
  } catch {
    return 'the script threw something that cannot be shown';
  }
}

/** The innermost line of the script in a stack, if any; the engine calls what is evaluated `<input>`. */
export function lineOf(stack) {
  const [, line] = /<input>:(\d+)/.exec(String(stack)) ?? [];
  return line && Number(line);
}
