-- What happened on a session, where it is to be posted, and what was sent. Every row goes with its session.

-- Webhook addresses. `place` 0 is the founding `webhook_url`. An address that was removed stays as a disabled row
-- without its secret, because finished deliveries point at it. Endpoints have names that plugins route to; the founding one
-- is called default. A removed one leaves its name free: `live_name` is empty in its row, and says so because an index over
-- some rows only does not exist here.
CREATE TABLE IF NOT EXISTS endpoints (
    id         VARCHAR(64)  NOT NULL PRIMARY KEY,
    session_id VARCHAR(64)  NOT NULL,
    place      BIGINT       NOT NULL,
    url        LONGTEXT     NOT NULL,
    secret     LONGBLOB     NOT NULL,  -- sealed; empty while disabled
    enabled    BOOLEAN      NOT NULL,
    created_at BIGINT       NOT NULL,
    name       VARCHAR(255) NOT NULL DEFAULT 'default',
    live_name  VARCHAR(255) AS (CASE WHEN enabled THEN name END) STORED,
    UNIQUE (session_id, place),
    UNIQUE INDEX endpoints_by_name (session_id, live_name),
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Received messages. `dedup` is a digest of (session, chat, sender, message id, kind), because a sender chooses the
-- message id and thereby its length. `payload` is the message as JSON.
CREATE TABLE IF NOT EXISTS events (
    seq        BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id         VARCHAR(64)   NOT NULL UNIQUE,
    session_id VARCHAR(64)   NOT NULL,
    kind       VARCHAR(128)  NOT NULL,
    dedup      VARBINARY(32) NOT NULL UNIQUE,
    payload    LONGTEXT      NOT NULL,
    stored_at  BIGINT        NOT NULL,
    routed_at  BIGINT,
    INDEX events_by_session (session_id),
    INDEX events_unrouted (routed_at, seq),
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One event for one endpoint. A waiting delivery may be claimed from `due_at` on; a claim moves `due_at` to the end of
-- its lease and keeps the moment it was due at in `leased_from`, so that one index serves claims and wake-ups alike.
-- A body that is not text lies in `body_bytes`, and `body` is empty.
CREATE TABLE IF NOT EXISTS deliveries (
    seq          BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id           VARCHAR(64)  NOT NULL UNIQUE,
    session_id   VARCHAR(64)  NOT NULL,
    event_id     VARCHAR(64)  NOT NULL,
    endpoint_id  VARCHAR(64)  NOT NULL,
    state        VARCHAR(32)  NOT NULL,
    due_at       BIGINT       NOT NULL,
    leased_from  BIGINT,
    epoch        BIGINT       NOT NULL,  -- the number of the newest claim
    attempts     BIGINT       NOT NULL,
    body         LONGTEXT     NOT NULL,
    created_at   BIGINT       NOT NULL,
    content_type VARCHAR(256) NOT NULL DEFAULT 'application/json',
    headers      LONGTEXT,               -- a JSON array of pairs, null for none
    path_suffix  VARCHAR(512) NOT NULL DEFAULT '',
    body_bytes   LONGBLOB,
    INDEX deliveries_by_session (session_id),
    INDEX deliveries_by_event (event_id),
    INDEX deliveries_by_endpoint (endpoint_id, state),
    INDEX deliveries_due (state, due_at, seq),
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE,
    FOREIGN KEY (event_id) REFERENCES events (id) ON DELETE CASCADE,
    FOREIGN KEY (endpoint_id) REFERENCES endpoints (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Attempts of a delivery, numbered from 1. `status` when the receiver answered, `error` when it did not.
CREATE TABLE IF NOT EXISTS attempts (
    delivery_id VARCHAR(64) NOT NULL,
    number      BIGINT      NOT NULL,
    started_at  BIGINT      NOT NULL,
    took_ms     BIGINT      NOT NULL,
    outcome     VARCHAR(32) NOT NULL,
    status      BIGINT,
    error       LONGTEXT,
    PRIMARY KEY (delivery_id, number),
    FOREIGN KEY (delivery_id) REFERENCES deliveries (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Messages that went out, or are about to. `state` counts up: 0 pending, 1 refused, 2 sent, 3 delivered, 4 read.
-- `key` is the caller's idempotency key, set to null when it has expired; `digest` is the request it stands for.
CREATE TABLE IF NOT EXISTS sends (
    session_id  VARCHAR(64)   NOT NULL,
    message     VARCHAR(255)  NOT NULL,
    chat        VARCHAR(255)  NOT NULL,
    `key`       VARCHAR(255),
    digest      VARBINARY(32),
    state       BIGINT        NOT NULL,
    code        BIGINT,                  -- why WhatsApp refused
    created_at  BIGINT        NOT NULL,
    begun_at    BIGINT        NOT NULL,  -- the newest try to send it
    accepted_at BIGINT,                  -- when WhatsApp took it
    PRIMARY KEY (session_id, message),
    UNIQUE (session_id, `key`),
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
