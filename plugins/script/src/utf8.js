// Text to bytes and back; the engine has no TextEncoder. Its own functions do the work, which is many times faster than
// a loop here.

/** UTF-8 of a text. A lone half of a surrogate pair becomes U+FFFD. */
export function encode(text) {
  const bytes = text.toWellFormed().replace(/[^\0-\x7f]+/g, (run) => unescape(encodeURIComponent(run)));
  return Uint8Array.fromBase64(btoa(bytes));
}

/** The text of UTF-8 bytes. What is no UTF-8 becomes U+FFFD. */
export function decode(bytes) {
  return atob(bytes.toBase64()).replace(/[\x80-\xff]+/g, (run) => {
    try {
      return decodeURIComponent(escape(run));
    } catch {
      return salvage(run);
    }
  });
}

/** What of a run of bytes above ASCII is sound, each other byte as U+FFFD. */
function salvage(run) {
  return run.replace(/[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[^]/g, (unit) => {
    try {
      return decodeURIComponent(escape(unit));
    } catch {
      return '\ufffd'.repeat(unit.length);
    }
  });
}
