-- Delivery as receivers and their owners want it: filters, headers, keys, orders and limits of endpoints, endpoints of a
-- whole account, lanes of deliveries, phases of attempts, replays.

-- The SHA-256 of the session's id, a NUL and WhatsApp's id of the message, for events that are about one: a message is
-- found by it. Null in older rows.
ALTER TABLE events ADD COLUMN message_key BYTEA;
CREATE INDEX events_by_message ON events (message_key) WHERE message_key IS NOT NULL;

-- Webhook addresses, of a session, or of all sessions of their owner (`session_id` null). `place` 0 is the founding
-- `webhook_url`, which is called default. `seal` says whose an endpoint is, as its sealed values are bound to it: the
-- session's id, or `account:` and the owner's number, which is no session's id. `secret` is one secret, or a JSON array of
-- keys. An address that was removed stays as a disabled row (`enabled`) without secrets, because finished deliveries point
-- at it, and leaves its name free.
ALTER TABLE endpoints
    ADD COLUMN owner         BIGINT,
    ADD COLUMN seal          TEXT COLLATE "C",
    ADD COLUMN description   TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN events        TEXT COLLATE "C",                              -- a JSON array of patterns
    ADD COLUMN headers       BYTEA,                                         -- sealed JSON, an array of pairs; empty for none
    ADD COLUMN ordering      TEXT COLLATE "C" NOT NULL DEFAULT 'parallel',  -- parallel, strict
    ADD COLUMN in_flight     BIGINT           NOT NULL DEFAULT 16,
    ADD COLUMN per_second    BIGINT,
    ADD COLUMN timeout_ms    BIGINT,
    ADD COLUMN sequence      BIGINT           NOT NULL DEFAULT 0,           -- the last number given to a delivery
    ADD COLUMN disabled_why  TEXT COLLATE "C",                              -- by_user, gone, failing; null while it is in use
    ADD COLUMN disabled_at   BIGINT,
    ADD COLUMN succeeded_at  BIGINT,
    ADD COLUMN failing_since BIGINT;
UPDATE endpoints SET owner = s.owner, seal = endpoints.session_id, events = '["message.received","plugin.*"]', headers = ''
    FROM sessions s WHERE s.id = endpoints.session_id;
ALTER TABLE endpoints
    ALTER COLUMN owner SET NOT NULL,
    ALTER COLUMN seal SET NOT NULL,
    ALTER COLUMN events SET NOT NULL,
    ALTER COLUMN headers SET NOT NULL,
    ALTER COLUMN name DROP DEFAULT,
    ALTER COLUMN session_id DROP NOT NULL,
    DROP CONSTRAINT endpoints_session_id_place_key,
    ADD UNIQUE (seal, place),
    ADD FOREIGN KEY (owner) REFERENCES users (id) ON DELETE CASCADE;
DROP INDEX endpoints_by_name;
CREATE UNIQUE INDEX endpoints_by_name ON endpoints (seal, name) WHERE enabled;
CREATE INDEX endpoints_by_session ON endpoints (session_id, place);
CREATE INDEX endpoints_by_owner ON endpoints (owner, session_id);

-- One event for one endpoint. A waiting delivery is attempted from `due_at` on; null while it stands behind another of its
-- chat at an endpoint that wants them in order. In any other state `due_at` means nothing.
UPDATE deliveries SET due_at = leased_from WHERE state = 'waiting' AND leased_from IS NOT NULL;
ALTER TABLE deliveries
    ALTER COLUMN due_at DROP NOT NULL,
    DROP COLUMN leased_from,
    DROP COLUMN epoch,
    DROP COLUMN claim,
    ADD COLUMN chat          TEXT COLLATE "C",           -- what it is about, and its lane
    ADD COLUMN sequence      BIGINT NOT NULL DEFAULT 0,  -- its number at its endpoint, from 1; 0 in older rows
    ADD COLUMN replayed_from BIGINT NOT NULL DEFAULT 0,  -- attempts before its schedule of retries last began anew
    ADD COLUMN dead_why      TEXT COLLATE "C",           -- exhausted, gone, skipped, disabled
    ADD COLUMN settled_at    BIGINT;                     -- when it was delivered or given up; null in older rows
UPDATE deliveries SET dead_why = 'exhausted' WHERE state = 'dead';
DROP INDEX deliveries_by_endpoint;
DROP INDEX deliveries_due;
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint_id, seq);
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at, seq) WHERE state = 'waiting';
CREATE INDEX deliveries_lanes ON deliveries (endpoint_id, chat, seq) WHERE state = 'waiting';

-- Attempts of a delivery, numbered from 1. `status` when the receiver answered, `error` and its class when it did not. A
-- phase that did not take place is null, and so is what older rows do not know.
ALTER TABLE attempts
    ADD COLUMN dns_us        BIGINT,
    ADD COLUMN connect_us    BIGINT,
    ADD COLUMN tls_us        BIGINT,
    ADD COLUMN first_byte_us BIGINT,
    ADD COLUMN address       TEXT COLLATE "C",  -- what was dialled
    ADD COLUMN class         TEXT COLLATE "C",
    ADD COLUMN answer        BYTEA;             -- how the answer's body begins

-- Deliveries to be made again, many at once: those that `filter` chose, up to `last_seq`. `cursor_seq` is the last one
-- that was seen to; an interrupted replay goes on behind it.
CREATE TABLE replays (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    owner      BIGINT           NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    filter     TEXT COLLATE "C" NOT NULL,  -- JSON
    per_second BIGINT           NOT NULL,
    state      TEXT COLLATE "C" NOT NULL,  -- running, done, cancelled
    total      BIGINT           NOT NULL,
    done       BIGINT           NOT NULL,
    cursor_seq BIGINT           NOT NULL,
    last_seq   BIGINT           NOT NULL,
    created_at BIGINT           NOT NULL,
    ended_at   BIGINT
);
CREATE INDEX replays_by_owner ON replays (owner);
