-- Delivery as receivers and their owners want it: filters, headers, keys, orders and limits of endpoints, endpoints of a
-- whole account, lanes of deliveries, phases of attempts, replays.
--
-- An ALTER cannot say that it is to do nothing where its work is done, so each is prepared only where it is not.

-- The SHA-256 of the session's id, a NUL and WhatsApp's id of the message, for events that are about one: a message is
-- found by it. Null in older rows.
SET @undone = (SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'events' AND column_name = 'message_key');
SET @change = IF(@undone, 'ALTER TABLE events
    ADD COLUMN message_key VARBINARY(32),
    ADD INDEX events_by_message (message_key)', 'DO 0');
PREPARE step FROM @change;
EXECUTE step;

-- Webhook addresses, of a session, or of all sessions of their owner (`session_id` null). `place` 0 is the founding
-- `webhook_url`, which is called default. `seal` says whose an endpoint is, as its sealed values are bound to it: the
-- session's id, or `account:` and the owner's number, which is no session's id. `events` is a JSON array of patterns,
-- `headers` sealed JSON, an array of pairs, or empty for none; `secret` is one secret, or a JSON array of keys. `ordering` is
-- parallel or strict, `sequence` the last number given to a delivery, `disabled_why` by_user, gone or failing, and null
-- while it is in use. An address that was removed stays as a disabled row (`enabled`) without secrets, because finished
-- deliveries point at it, and leaves its name free: `live_name` is null in its row.
SET @undone = (SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'endpoints' AND column_name = 'seal');
SET @change = IF(@undone, 'ALTER TABLE endpoints
    ADD COLUMN owner         BIGINT,
    ADD COLUMN seal          VARCHAR(64),
    ADD COLUMN description   LONGTEXT,
    ADD COLUMN events        LONGTEXT,
    ADD COLUMN headers       LONGBLOB,
    ADD COLUMN ordering      VARCHAR(32) NOT NULL DEFAULT ''parallel'',
    ADD COLUMN in_flight     BIGINT      NOT NULL DEFAULT 16,
    ADD COLUMN per_second    BIGINT,
    ADD COLUMN timeout_ms    BIGINT,
    ADD COLUMN sequence      BIGINT      NOT NULL DEFAULT 0,
    ADD COLUMN disabled_why  VARCHAR(32),
    ADD COLUMN disabled_at   BIGINT,
    ADD COLUMN succeeded_at  BIGINT,
    ADD COLUMN failing_since BIGINT', 'DO 0');
PREPARE step FROM @change;
EXECUTE step;
UPDATE endpoints e JOIN sessions s ON s.id = e.session_id
    SET e.owner = s.owner, e.seal = e.session_id, e.description = '', e.events = '["message.received","plugin.*"]', e.headers = ''
    WHERE e.seal IS NULL;
SET @undone = (SELECT COUNT(*) = 1 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'endpoints' AND column_name = 'seal' AND is_nullable = 'YES');
SET @change = IF(@undone, 'ALTER TABLE endpoints
    MODIFY COLUMN owner       BIGINT      NOT NULL,
    MODIFY COLUMN session_id  VARCHAR(64),
    MODIFY COLUMN seal        VARCHAR(64) NOT NULL,
    MODIFY COLUMN description LONGTEXT    NOT NULL DEFAULT (''''),
    MODIFY COLUMN events      LONGTEXT    NOT NULL,
    MODIFY COLUMN headers     LONGBLOB    NOT NULL,
    ALTER COLUMN name DROP DEFAULT,
    DROP INDEX session_id,
    DROP INDEX endpoints_by_name,
    ADD UNIQUE INDEX endpoints_by_seal (seal, place),
    ADD UNIQUE INDEX endpoints_by_name (seal, live_name),
    ADD INDEX endpoints_by_session (session_id, place),
    ADD INDEX endpoints_by_owner (owner, session_id),
    ADD FOREIGN KEY (owner) REFERENCES users (id) ON DELETE CASCADE', 'DO 0');
PREPARE step FROM @change;
EXECUTE step;

-- One event for one endpoint. A waiting delivery is attempted from `due_at` on; null while it stands behind another of its
-- chat, its lane, at an endpoint that wants them in order. In any other state `due_at` means nothing. `sequence` is its
-- number at its endpoint, from 1, and 0 in older rows; `replayed_from` are the attempts before its schedule of retries last
-- began anew; `dead_why` is exhausted, gone, skipped or disabled; `settled_at` is when it was delivered or given up, and null
-- in older rows.
SET @undone = (SELECT COUNT(*) = 1 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'deliveries' AND column_name = 'leased_from');
SET @change = IF(@undone, 'UPDATE deliveries SET due_at = leased_from
    WHERE state = ''waiting'' AND leased_from IS NOT NULL', 'DO 0');
PREPARE step FROM @change;
EXECUTE step;
SET @change = IF(@undone, 'ALTER TABLE deliveries
    MODIFY COLUMN due_at BIGINT,
    DROP COLUMN leased_from,
    DROP COLUMN epoch,
    DROP COLUMN claim,
    ADD COLUMN chat          VARCHAR(255),
    ADD COLUMN sequence      BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN replayed_from BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN dead_why      VARCHAR(32),
    ADD COLUMN settled_at    BIGINT,
    DROP INDEX deliveries_by_session,
    DROP INDEX deliveries_by_endpoint,
    DROP INDEX deliveries_due,
    ADD INDEX deliveries_by_session (session_id, seq),
    ADD INDEX deliveries_by_endpoint (endpoint_id, seq),
    ADD INDEX deliveries_due (state, endpoint_id, due_at, seq),
    ADD INDEX deliveries_lanes (state, endpoint_id, chat, seq)', 'DO 0');
PREPARE step FROM @change;
EXECUTE step;
UPDATE deliveries SET dead_why = 'exhausted' WHERE state = 'dead' AND dead_why IS NULL;

-- Attempts of a delivery, numbered from 1. `status` when the receiver answered, `error` and its class when it did not;
-- `answer` is how the answer's body begins. A phase that did not take place is null, and so is what older rows do not know.
SET @undone = (SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'attempts' AND column_name = 'answer');
SET @change = IF(@undone, 'ALTER TABLE attempts
    ADD COLUMN dns_us        BIGINT,
    ADD COLUMN connect_us    BIGINT,
    ADD COLUMN tls_us        BIGINT,
    ADD COLUMN first_byte_us BIGINT,
    ADD COLUMN address       VARCHAR(64),
    ADD COLUMN class         VARCHAR(32),
    ADD COLUMN answer        LONGBLOB', 'DO 0');
PREPARE step FROM @change;
EXECUTE step;
DEALLOCATE PREPARE step;

-- Deliveries to be made again, many at once: those that `filter` chose, up to `last_seq`. `cursor_seq` is the last one
-- that was seen to; an interrupted replay goes on behind it.
CREATE TABLE IF NOT EXISTS replays (
    id         VARCHAR(64) NOT NULL PRIMARY KEY,
    owner      BIGINT      NOT NULL,
    filter     LONGTEXT    NOT NULL,  -- JSON
    per_second BIGINT      NOT NULL,
    state      VARCHAR(32) NOT NULL,  -- running, done, cancelled
    total      BIGINT      NOT NULL,
    done       BIGINT      NOT NULL,
    cursor_seq BIGINT      NOT NULL,
    last_seq   BIGINT      NOT NULL,
    created_at BIGINT      NOT NULL,
    ended_at   BIGINT,
    INDEX replays_by_owner (owner),
    FOREIGN KEY (owner) REFERENCES users (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
