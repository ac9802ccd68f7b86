//! Fan-out of events to live streams. Never in the safety path.
