-- User code on the way of messages: what is installed, where it is bound, what it keeps and what it asked for.

-- WebAssembly components by the SHA-256 (hex) of their bytes. Several versions, of several users, may share one. The
-- bytes come last, so that the other columns are read without them.
CREATE TABLE components (
    sha256   TEXT   NOT NULL PRIMARY KEY,
    added_at BIGINT NOT NULL,                                -- when it was handed over last
    bytes    BLOB   NOT NULL
);

CREATE TABLE plugins (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    owner       BIGINT  NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    current     BIGINT  NOT NULL,                            -- the number of the version that runs
    enabled     BOOLEAN NOT NULL,
    created_at  BIGINT  NOT NULL,
    value_count BIGINT  NOT NULL DEFAULT 0,                  -- its rows in plugin_values, expired ones included
    value_bytes BIGINT  NOT NULL DEFAULT 0,                  -- their names and values together
    UNIQUE (owner, name)
);

-- Versions never change. `report` is what looking at the component found, `grants` what the operator granted; both JSON.
CREATE TABLE plugin_versions (
    plugin_id  TEXT   NOT NULL REFERENCES plugins (id) ON DELETE CASCADE,
    number     BIGINT NOT NULL,
    component  TEXT   NOT NULL REFERENCES components (sha256),
    script     TEXT,                                         -- the pasted script, when the component runs scripts
    grants     TEXT   NOT NULL,
    report     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (plugin_id, number)
);
CREATE INDEX plugin_versions_by_component ON plugin_versions (component);

-- A plugin on a session, or on all sessions of its owner (`session_id` null).
CREATE TABLE plugin_bindings (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    plugin_id  TEXT    NOT NULL REFERENCES plugins (id) ON DELETE CASCADE,
    session_id TEXT    REFERENCES sessions (id) ON DELETE CASCADE,
    position   BIGINT  NOT NULL,
    config     BLOB    NOT NULL,                             -- sealed JSON
    limits     TEXT    NOT NULL,                             -- JSON
    policy     TEXT    NOT NULL,
    enabled    BOOLEAN NOT NULL,
    revision   BIGINT  NOT NULL
);
CREATE INDEX plugin_bindings_by_plugin ON plugin_bindings (plugin_id);
CREATE INDEX plugin_bindings_by_session ON plugin_bindings (session_id);

-- Which of the gateway's own plugins a user was given, so that one that was removed does not come back.
CREATE TABLE plugin_gifts (
    owner     BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name      TEXT   NOT NULL,
    component TEXT   NOT NULL,                               -- what was given last
    PRIMARY KEY (owner, name)
);

-- What plugins keep. `expires_at` null is for ever.
CREATE TABLE plugin_values (
    plugin_id  TEXT   NOT NULL REFERENCES plugins (id) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    value      BLOB   NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (plugin_id, name)
);

-- What plugins said, and their failures. Only the newest thousand lines of each are kept.
CREATE TABLE plugin_logs (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    plugin_id TEXT    NOT NULL REFERENCES plugins (id) ON DELETE CASCADE,
    at        BIGINT  NOT NULL,
    level     TEXT    NOT NULL,
    message   TEXT    NOT NULL,
    fields    TEXT    NOT NULL,                              -- JSON
    call_id   TEXT    NOT NULL
);
CREATE INDEX plugin_logs_by_plugin ON plugin_logs (plugin_id, seq);

-- How an event was routed: the steps of its chains and the labels it came out with, as JSON.
CREATE TABLE routings (
    event_id   TEXT   NOT NULL PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    session_id TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    outcome    TEXT   NOT NULL,                              -- forwarded, dropped, deferred, parked
    code       TEXT,                                         -- dropped: the plugin's code
    detail     TEXT,
    steps      TEXT   NOT NULL,
    labels     TEXT   NOT NULL,
    tries      BIGINT NOT NULL,                              -- how often it was run through its chain
    failures   BIGINT NOT NULL,                              -- how often it was parked thereby
    due_at     BIGINT,                                       -- when a deferred or parked event is tried again
    plugin_id  TEXT,                                         -- the plugin a deferred or parked event waits for
    at         BIGINT NOT NULL
);
CREATE INDEX routings_by_session ON routings (session_id);
CREATE INDEX routings_due ON routings (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX routings_by_plugin ON routings (plugin_id) WHERE plugin_id IS NOT NULL;

-- Messages plugins asked to be sent. Of a chat's waiting ones only the first has a `due_at`, from which on it may be
-- claimed; the others have null and come up one by one. A claim moves `due_at` to the lease's end.
CREATE TABLE plugin_sends (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id  TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    message     TEXT    NOT NULL,                            -- the id it has, or will have, on WhatsApp
    plugin_id   TEXT    NOT NULL,
    event_id    TEXT,                                        -- null when it was asked for on a message going out
    chat        TEXT    NOT NULL,
    text        TEXT    NOT NULL,
    state       TEXT    NOT NULL,                            -- waiting, sent, failed
    due_at      BIGINT,
    leased_from BIGINT,
    epoch       BIGINT  NOT NULL,                            -- the number of the newest claim
    tries       BIGINT  NOT NULL,
    error       TEXT,
    created_at  BIGINT  NOT NULL,
    UNIQUE (session_id, message)
);
CREATE INDEX plugin_sends_due ON plugin_sends (due_at, seq) WHERE due_at IS NOT NULL;
CREATE INDEX plugin_sends_waiting ON plugin_sends (session_id, chat, seq) WHERE state = 'waiting';
CREATE INDEX plugin_sends_by_plugin ON plugin_sends (plugin_id) WHERE state = 'waiting';
CREATE INDEX plugin_sends_by_event ON plugin_sends (event_id);

-- Endpoints have names that plugins route to. The founding one is called default. A removed one leaves its name free.
ALTER TABLE endpoints ADD COLUMN name TEXT NOT NULL DEFAULT 'default';
CREATE UNIQUE INDEX endpoints_by_name ON endpoints (session_id, name) WHERE enabled;

-- What plugins made of a webhook. A body that is not text lies in `body_bytes`, and `body` is empty; `headers` is a JSON
-- array of pairs, null for none.
ALTER TABLE deliveries ADD COLUMN content_type TEXT NOT NULL DEFAULT 'application/json';
ALTER TABLE deliveries ADD COLUMN headers TEXT;
ALTER TABLE deliveries ADD COLUMN path_suffix TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN body_bytes BLOB;
