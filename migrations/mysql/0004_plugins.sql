-- User code on the way of messages: what is installed, where it is bound, what it keeps and what it asked for.

-- WebAssembly components by the SHA-256 (hex) of their bytes. Several versions, of several users, may share one. The
-- bytes come last, so that the other columns are read without them.
CREATE TABLE IF NOT EXISTS components (
    sha256   VARCHAR(64) NOT NULL PRIMARY KEY,
    added_at BIGINT      NOT NULL,  -- when it was handed over last
    bytes    LONGBLOB    NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS plugins (
    seq         BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id          VARCHAR(64) NOT NULL UNIQUE,
    owner       BIGINT      NOT NULL,
    name        VARCHAR(64) NOT NULL,
    current     BIGINT      NOT NULL,            -- the number of the version that runs
    enabled     BOOLEAN     NOT NULL,
    created_at  BIGINT      NOT NULL,
    value_count BIGINT      NOT NULL DEFAULT 0,  -- its rows in plugin_values, expired ones included
    value_bytes BIGINT      NOT NULL DEFAULT 0,  -- their names and values together
    UNIQUE (owner, name),
    FOREIGN KEY (owner) REFERENCES users (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Versions never change. `report` is what looking at the component found, `grants` what the operator granted; both JSON.
CREATE TABLE IF NOT EXISTS plugin_versions (
    plugin_id  VARCHAR(64) NOT NULL,
    number     BIGINT      NOT NULL,
    component  VARCHAR(64) NOT NULL,
    script     LONGTEXT,  -- the pasted script, when the component runs scripts
    grants     LONGTEXT    NOT NULL,
    report     LONGTEXT    NOT NULL,
    created_at BIGINT      NOT NULL,
    PRIMARY KEY (plugin_id, number),
    INDEX plugin_versions_by_component (component),
    FOREIGN KEY (plugin_id) REFERENCES plugins (id) ON DELETE CASCADE,
    FOREIGN KEY (component) REFERENCES components (sha256)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A plugin on a session, or on all sessions of its owner (`session_id` null).
CREATE TABLE IF NOT EXISTS plugin_bindings (
    seq        BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id         VARCHAR(64) NOT NULL UNIQUE,
    plugin_id  VARCHAR(64) NOT NULL,
    session_id VARCHAR(64),
    position   BIGINT      NOT NULL,
    config     LONGBLOB    NOT NULL,  -- sealed JSON
    limits     LONGTEXT    NOT NULL,  -- JSON
    policy     VARCHAR(32) NOT NULL,
    enabled    BOOLEAN     NOT NULL,
    revision   BIGINT      NOT NULL,
    INDEX plugin_bindings_by_plugin (plugin_id),
    INDEX plugin_bindings_by_session (session_id),
    FOREIGN KEY (plugin_id) REFERENCES plugins (id) ON DELETE CASCADE,
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which of the gateway's own plugins a user was given, so that one that was removed does not come back.
CREATE TABLE IF NOT EXISTS plugin_gifts (
    owner     BIGINT      NOT NULL,
    name      VARCHAR(64) NOT NULL,
    component VARCHAR(64) NOT NULL,  -- what was given last
    PRIMARY KEY (owner, name),
    FOREIGN KEY (owner) REFERENCES users (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What plugins keep. Names are bytes, because a plugin chooses them and may put anything in. `expires_at` null is for ever.
CREATE TABLE IF NOT EXISTS plugin_values (
    plugin_id  VARCHAR(64)    NOT NULL,
    name       VARBINARY(256) NOT NULL,
    value      LONGBLOB       NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (plugin_id, name),
    FOREIGN KEY (plugin_id) REFERENCES plugins (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What plugins said, and their failures. Only the newest thousand lines of each are kept.
CREATE TABLE IF NOT EXISTS plugin_logs (
    seq       BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    plugin_id VARCHAR(64) NOT NULL,
    at        BIGINT      NOT NULL,
    level     VARCHAR(32) NOT NULL,
    message   LONGTEXT    NOT NULL,
    fields    LONGTEXT    NOT NULL,  -- JSON
    call_id   VARCHAR(64) NOT NULL,
    INDEX plugin_logs_by_plugin (plugin_id, seq),
    FOREIGN KEY (plugin_id) REFERENCES plugins (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How an event was routed: the steps of its chains and the labels it came out with, as JSON.
CREATE TABLE IF NOT EXISTS routings (
    event_id   VARCHAR(64) NOT NULL PRIMARY KEY,
    session_id VARCHAR(64) NOT NULL,
    outcome    VARCHAR(32) NOT NULL,  -- forwarded, dropped, deferred, parked
    code       LONGTEXT,              -- dropped: the plugin's code
    detail     LONGTEXT,
    steps      LONGTEXT    NOT NULL,
    labels     LONGTEXT    NOT NULL,
    tries      BIGINT      NOT NULL,  -- how often it was run through its chain
    failures   BIGINT      NOT NULL,  -- how often it was parked thereby
    due_at     BIGINT,                -- when a deferred or parked event is tried again
    plugin_id  VARCHAR(64),           -- the plugin a deferred or parked event waits for
    at         BIGINT      NOT NULL,
    INDEX routings_by_session (session_id),
    INDEX routings_due (due_at),
    INDEX routings_by_plugin (plugin_id),
    FOREIGN KEY (event_id) REFERENCES events (id) ON DELETE CASCADE,
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Messages plugins asked to be sent. Of a chat's waiting ones only the first has a `due_at`, from which on it may be
-- claimed; the others have null and come up one by one. A claim moves `due_at` to the lease's end.
CREATE TABLE IF NOT EXISTS plugin_sends (
    seq         BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    session_id  VARCHAR(64)  NOT NULL,
    message     VARCHAR(255) NOT NULL,  -- the id it has, or will have, on WhatsApp
    plugin_id   VARCHAR(64)  NOT NULL,
    event_id    VARCHAR(64),            -- null when it was asked for on a message going out
    chat        VARCHAR(255) NOT NULL,
    text        LONGTEXT     NOT NULL,
    state       VARCHAR(32)  NOT NULL,  -- waiting, sent, failed
    due_at      BIGINT,
    leased_from BIGINT,
    epoch       BIGINT       NOT NULL,  -- the number of the newest claim
    tries       BIGINT       NOT NULL,
    error       LONGTEXT,
    created_at  BIGINT       NOT NULL,
    UNIQUE (session_id, message),
    INDEX plugin_sends_due (due_at, seq),
    INDEX plugin_sends_waiting (session_id, chat, state, seq),
    INDEX plugin_sends_by_plugin (plugin_id, state),
    INDEX plugin_sends_by_event (event_id),
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
