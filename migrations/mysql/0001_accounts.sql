-- Who uses the gateway, and the WhatsApp accounts they hold.
--
-- The same on every engine: ids are text, compared byte for byte; times are milliseconds since 1970; flags are booleans.
-- `seq` is the order in which rows were written, whatever the clock did meanwhile; it never leaves the database.
--
-- MySQL and MariaDB commit each CREATE by itself, so a migration that was interrupted is run again: every statement here
-- must do nothing where its work is done. An index over some rows only does not exist here; it stands over all. A column
-- that is indexed has a length, the longest value that its room lets in or more.

-- Small values of the gateway itself.
CREATE TABLE IF NOT EXISTS settings (
    name  VARCHAR(255) NOT NULL PRIMARY KEY,
    value LONGTEXT     NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS users (
    id                   BIGINT        NOT NULL AUTO_INCREMENT PRIMARY KEY,  -- never given out twice
    username             VARCHAR(255)  NOT NULL,
    username_key         VARCHAR(255)  NOT NULL UNIQUE,                      -- the username in lower case
    role                 VARCHAR(32)   NOT NULL,
    password_hash        VARCHAR(1024) NOT NULL,
    token_version        BIGINT        NOT NULL,                             -- raised to revoke every token
    must_change_password BOOLEAN       NOT NULL,
    created_at           BIGINT        NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A session. The last four columns are the linked account, all null until a phone has scanned; `lid` may stay null.
CREATE TABLE IF NOT EXISTS sessions (
    seq        BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id         VARCHAR(64)  NOT NULL UNIQUE,
    owner      BIGINT       NOT NULL,
    name       VARCHAR(255) NOT NULL,
    wanted     BOOLEAN      NOT NULL,  -- it should be running
    created_at BIGINT       NOT NULL,
    phone      VARCHAR(64),
    device_jid VARCHAR(255),
    lid        VARCHAR(255),
    linked_at  BIGINT,
    INDEX sessions_by_owner (owner),
    INDEX sessions_by_phone (phone),
    FOREIGN KEY (owner) REFERENCES users (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
