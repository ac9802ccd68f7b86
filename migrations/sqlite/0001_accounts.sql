-- Who uses the gateway, and the WhatsApp accounts they hold.
--
-- The same on every engine: ids are text, compared byte for byte; times are milliseconds since 1970; flags are booleans.
-- `seq` is the order in which rows were written, whatever the clock did meanwhile; it never leaves the database.

-- Small values of the gateway itself.
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE users (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given out twice
    username             TEXT    NOT NULL,
    username_key         TEXT    NOT NULL UNIQUE,            -- the username in lower case
    role                 TEXT    NOT NULL,
    password_hash        TEXT    NOT NULL,
    token_version        BIGINT  NOT NULL,                   -- raised to revoke every token
    must_change_password BOOLEAN NOT NULL,
    created_at           BIGINT  NOT NULL
);

-- A session. The last four columns are the linked account, all null until a phone has scanned; `lid` may stay null.
CREATE TABLE sessions (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    owner      BIGINT  NOT NULL REFERENCES users (id),
    name       TEXT    NOT NULL,
    wanted     BOOLEAN NOT NULL,                             -- it should be running
    created_at BIGINT  NOT NULL,
    phone      TEXT,
    device_jid TEXT,
    lid        TEXT,
    linked_at  BIGINT
);
CREATE INDEX sessions_by_owner ON sessions (owner);
CREATE INDEX sessions_by_phone ON sessions (phone) WHERE phone IS NOT NULL;
