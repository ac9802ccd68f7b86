-- Delivery as receivers and their owners want it: filters, headers, keys, orders and limits of endpoints, endpoints of a
-- whole account, lanes of deliveries, phases of attempts, replays.

-- The SHA-256 of the session's id, a NUL and WhatsApp's id of the message, for events that are about one: a message is
-- found by it. Null in older rows.
ALTER TABLE events ADD COLUMN message_key BLOB;
CREATE INDEX events_by_message ON events (message_key) WHERE message_key IS NOT NULL;

-- SQLite takes no NOT NULL away, so three tables are made anew. A table that is dropped deletes the rows that refer to it;
-- those who refer go first.

-- Webhook addresses, of a session, or of all sessions of their owner (`session_id` null). `place` 0 is the founding
-- `webhook_url`, which is called default. `seal` says whose an endpoint is, as its sealed values are bound to it: the
-- session's id, or `account:` and the owner's number, which is no session's id. An address that was removed stays as a
-- disabled row without secrets, because finished deliveries point at it, and leaves its name free.
CREATE TABLE new_endpoints (
    id            TEXT    NOT NULL PRIMARY KEY,
    owner         BIGINT  NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    session_id    TEXT    REFERENCES sessions (id) ON DELETE CASCADE,
    seal          TEXT    NOT NULL,
    place         BIGINT  NOT NULL,
    name          TEXT    NOT NULL,
    description   TEXT    NOT NULL DEFAULT '',
    url           TEXT    NOT NULL,
    events        TEXT    NOT NULL,                          -- a JSON array of patterns
    headers       BLOB    NOT NULL,                          -- sealed JSON, an array of pairs; empty for none
    secret        BLOB    NOT NULL,                          -- sealed: one secret, or a JSON array of keys; empty once removed
    ordering      TEXT    NOT NULL DEFAULT 'parallel',       -- parallel, strict
    in_flight     BIGINT  NOT NULL DEFAULT 16,
    per_second    BIGINT,
    timeout_ms    BIGINT,
    sequence      BIGINT  NOT NULL DEFAULT 0,                -- the last number given to a delivery
    enabled       BOOLEAN NOT NULL,                          -- it was not removed
    disabled_why  TEXT,                                      -- by_user, gone, failing; null while it is in use
    disabled_at   BIGINT,
    succeeded_at  BIGINT,
    failing_since BIGINT,
    created_at    BIGINT  NOT NULL,
    UNIQUE (seal, place)
);
INSERT INTO new_endpoints (id, owner, session_id, seal, place, name, url, events, headers, secret, enabled, created_at)
    SELECT e.id, s.owner, e.session_id, e.session_id, e.place, e.name, e.url, '["message.received","plugin.*"]', x'', e.secret,
        e.enabled, e.created_at
    FROM endpoints e JOIN sessions s ON s.id = e.session_id;

-- One event for one endpoint. A waiting delivery is attempted from `due_at` on; null while it stands behind another of its
-- chat at an endpoint that wants them in order. In any other state `due_at` means nothing. A body that is not text lies in
-- `body_bytes`, and `body` is empty; `headers` is a JSON array of pairs, null for none.
CREATE TABLE new_deliveries (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT    NOT NULL UNIQUE,
    session_id    TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    event_id      TEXT    NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    endpoint_id   TEXT    NOT NULL REFERENCES new_endpoints (id) ON DELETE CASCADE,
    chat          TEXT,                                      -- what it is about, and its lane
    sequence      BIGINT  NOT NULL DEFAULT 0,                -- its number at its endpoint, from 1; 0 in older rows
    state         TEXT    NOT NULL,                          -- waiting, delivered, dead
    due_at        BIGINT,
    attempts      BIGINT  NOT NULL,
    replayed_from BIGINT  NOT NULL DEFAULT 0,                -- attempts before its schedule of retries last began anew
    dead_why      TEXT,                                      -- exhausted, gone, skipped, disabled
    settled_at    BIGINT,                                    -- when it was delivered or given up; null in older rows
    created_at    BIGINT  NOT NULL,
    content_type  TEXT    NOT NULL DEFAULT 'application/json',
    headers       TEXT,
    path_suffix   TEXT    NOT NULL DEFAULT '',
    body          TEXT    NOT NULL,
    body_bytes    BLOB
);
-- Numbers are given out once, those of rows that are gone included.
INSERT INTO sqlite_sequence (name, seq) SELECT 'new_deliveries', seq FROM sqlite_sequence WHERE name = 'deliveries';
INSERT INTO new_deliveries (seq, id, session_id, event_id, endpoint_id, state, due_at, attempts, dead_why, created_at,
        content_type, headers, path_suffix, body, body_bytes)
    SELECT seq, id, session_id, event_id, endpoint_id, state,
        CASE WHEN state = 'waiting' THEN COALESCE(leased_from, due_at) ELSE due_at END, attempts,
        CASE WHEN state = 'dead' THEN 'exhausted' END, created_at, content_type, headers, path_suffix, body, body_bytes
    FROM deliveries;

-- Attempts of a delivery, numbered from 1. `status` when the receiver answered, `error` and its class when it did not. A
-- phase that did not take place is null, and so is what older rows do not know.
CREATE TABLE new_attempts (
    delivery_id   TEXT   NOT NULL REFERENCES new_deliveries (id) ON DELETE CASCADE,
    number        BIGINT NOT NULL,
    started_at    BIGINT NOT NULL,
    took_ms       BIGINT NOT NULL,
    dns_us        BIGINT,
    connect_us    BIGINT,
    tls_us        BIGINT,
    first_byte_us BIGINT,
    address       TEXT,                                      -- what was dialled
    outcome       TEXT   NOT NULL,                           -- accepted, refused, unanswered
    status        BIGINT,
    class         TEXT,
    error         TEXT,
    answer        BLOB,                                      -- how the answer's body begins
    PRIMARY KEY (delivery_id, number)
);
INSERT INTO new_attempts (delivery_id, number, started_at, took_ms, outcome, status, error)
    SELECT delivery_id, number, started_at, took_ms, outcome, status, error FROM attempts;

DROP TABLE attempts;
DROP TABLE deliveries;
DROP TABLE endpoints;
-- Whatever refers to a table goes along with its name.
ALTER TABLE new_endpoints RENAME TO endpoints;
ALTER TABLE new_deliveries RENAME TO deliveries;
ALTER TABLE new_attempts RENAME TO attempts;

CREATE UNIQUE INDEX endpoints_by_name ON endpoints (seal, name) WHERE enabled;
CREATE INDEX endpoints_by_session ON endpoints (session_id, place);
CREATE INDEX endpoints_by_owner ON endpoints (owner, session_id);
CREATE INDEX deliveries_by_session ON deliveries (session_id);
CREATE INDEX deliveries_by_event ON deliveries (event_id);
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint_id);
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at, seq) WHERE state = 'waiting';
CREATE INDEX deliveries_lanes ON deliveries (endpoint_id, chat, seq) WHERE state = 'waiting';
CREATE INDEX attempts_by_age ON attempts (started_at);

-- Deliveries to be made again, many at once: those that `filter` chose, up to `last_seq`. `cursor_seq` is the last one
-- that was seen to; an interrupted replay goes on behind it.
CREATE TABLE replays (
    id         TEXT   NOT NULL PRIMARY KEY,
    owner      BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    filter     TEXT   NOT NULL,                              -- JSON
    per_second BIGINT NOT NULL,
    state      TEXT   NOT NULL,                              -- running, done, cancelled
    total      BIGINT NOT NULL,
    done       BIGINT NOT NULL,
    cursor_seq BIGINT NOT NULL,
    last_seq   BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at   BIGINT
);
CREATE INDEX replays_by_owner ON replays (owner);
