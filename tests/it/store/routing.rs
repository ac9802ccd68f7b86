//! What becomes of an event: verdicts, effects and holds, committed together.
