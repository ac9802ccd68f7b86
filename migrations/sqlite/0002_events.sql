-- What happened on a session, where it is to be posted, and what was sent. Every row goes with its session.

-- Webhook addresses. `place` 0 is the founding `webhook_url`. An address that was removed stays as a disabled row
-- without its secret, because finished deliveries point at it.
CREATE TABLE endpoints (
    id         TEXT    NOT NULL PRIMARY KEY,
    session_id TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    place      BIGINT  NOT NULL,
    url        TEXT    NOT NULL,
    secret     BLOB    NOT NULL,                             -- sealed; empty while disabled
    enabled    BOOLEAN NOT NULL,
    created_at BIGINT  NOT NULL,
    UNIQUE (session_id, place)
);

-- Received messages. `dedup` is a digest of (session, chat, sender, message id, kind), because a sender chooses the
-- message id and thereby its length. `payload` is the message as JSON.
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    session_id TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    kind       TEXT    NOT NULL,
    dedup      BLOB    NOT NULL UNIQUE,
    payload    TEXT    NOT NULL,
    stored_at  BIGINT  NOT NULL,
    routed_at  BIGINT
);
CREATE INDEX events_by_session ON events (session_id);
CREATE INDEX events_unrouted ON events (seq) WHERE routed_at IS NULL;

-- One event for one endpoint. A waiting delivery may be claimed from `due_at` on; a claim moves `due_at` to the end of
-- its lease and keeps the moment it was due at in `leased_from`, so that one index serves claims and wake-ups alike.
CREATE TABLE deliveries (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    session_id  TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    event_id    TEXT    NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    endpoint_id TEXT    NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    state       TEXT    NOT NULL,
    due_at      BIGINT  NOT NULL,
    leased_from BIGINT,
    epoch       BIGINT  NOT NULL,                            -- the number of the newest claim
    attempts    BIGINT  NOT NULL,
    body        TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL
);
CREATE INDEX deliveries_by_session ON deliveries (session_id);
CREATE INDEX deliveries_by_event ON deliveries (event_id);
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint_id);
CREATE INDEX deliveries_due ON deliveries (due_at, seq) WHERE state = 'waiting';

-- Attempts of a delivery, numbered from 1. `status` when the receiver answered, `error` when it did not.
CREATE TABLE attempts (
    delivery_id TEXT   NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    number      BIGINT NOT NULL,
    started_at  BIGINT NOT NULL,
    took_ms     BIGINT NOT NULL,
    outcome     TEXT   NOT NULL,
    status      BIGINT,
    error       TEXT,
    PRIMARY KEY (delivery_id, number)
);

-- Messages that went out, or are about to. `state` counts up: 0 pending, 1 refused, 2 sent, 3 delivered, 4 read.
-- `key` is the caller's idempotency key, set to null when it has expired; `digest` is the request it stands for.
CREATE TABLE sends (
    session_id  TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    message     TEXT   NOT NULL,
    chat        TEXT   NOT NULL,
    key         TEXT,
    digest      BLOB,
    state       BIGINT NOT NULL,
    code        BIGINT,                                      -- why WhatsApp refused
    created_at  BIGINT NOT NULL,
    begun_at    BIGINT NOT NULL,                             -- the newest try to send it
    accepted_at BIGINT,                                      -- when WhatsApp took it
    PRIMARY KEY (session_id, message),
    UNIQUE (session_id, key)
);
