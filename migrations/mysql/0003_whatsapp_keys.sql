-- What a linked WhatsApp account must keep: its device identity, Signal state, app state, and what the wire still owes.
--
-- Every row belongs to a session and goes with it. Every `value` is sealed (XChaCha20-Poly1305, bound to its row), so the
-- file alone gives nobody an account. Names (addresses, ids, collection names) stay readable.
-- Names are bytes: compared byte for byte on every engine, no collation, any content. A name over 255 bytes, which only a
-- peer up to no good would choose, stands as its first 224 and its SHA-256. `scope` is empty where a kind has none.
-- Times here are WhatsApp's: whole seconds since 1970, as the client hands them over.

-- Sealed records by name. Kinds: device, identity, session, prekey, signed-prekey, sender-key, sync-key, sync-version,
-- mutation-mac (scope: collection), base-key (scope: address), device-list, group. Ids of pre-keys are 4 bytes, big-endian.
CREATE TABLE IF NOT EXISTS whatsapp_keys (
    session_id VARCHAR(64)    NOT NULL,
    kind       VARCHAR(128)   NOT NULL,
    scope      VARBINARY(256) NOT NULL,
    name       VARBINARY(256) NOT NULL,
    value      LONGBLOB       NOT NULL,
    uploaded   BOOLEAN        NOT NULL,  -- pre-keys: WhatsApp has the public half
    PRIMARY KEY (session_id, kind, scope, name),
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which devices of a group hold our sender key. Not secret.
CREATE TABLE IF NOT EXISTS whatsapp_sender_key_devices (
    session_id VARCHAR(64)    NOT NULL,
    chat       VARBINARY(512) NOT NULL,
    device     VARBINARY(512) NOT NULL,
    has_key    BOOLEAN        NOT NULL,
    PRIMARY KEY (session_id, chat, device),
    INDEX whatsapp_sender_key_devices_by_device (session_id, device),
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which hidden address (LID) belongs to which phone number. A number may have had several; `seq` grows with every write
-- and tells the newest of those learnt in the same second.
CREATE TABLE IF NOT EXISTS whatsapp_lids (
    seq        BIGINT         NOT NULL AUTO_INCREMENT PRIMARY KEY,
    session_id VARCHAR(64)    NOT NULL,
    lid        VARBINARY(512) NOT NULL,
    phone      VARBINARY(512) NOT NULL,
    created_at BIGINT         NOT NULL,
    updated_at BIGINT         NOT NULL,
    source     VARCHAR(64)    NOT NULL,
    UNIQUE (session_id, lid),
    INDEX whatsapp_lids_by_phone (session_id, phone),
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Trusted-contact tokens, each with when it was received. `value` is null while we only know when we gave the contact ours.
CREATE TABLE IF NOT EXISTS whatsapp_tokens (
    session_id VARCHAR(64)    NOT NULL,
    jid        VARBINARY(512) NOT NULL,
    value      LONGBLOB,
    token_at   BIGINT         NOT NULL,
    sender_at  BIGINT,
    PRIMARY KEY (session_id, jid),
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What single messages leave behind. Kinds: sent (payload, for a retry), pending (received, not yet committed by us),
-- secret (opens later edits, votes and reactions).
CREATE TABLE IF NOT EXISTS whatsapp_messages (
    session_id VARCHAR(64)    NOT NULL,
    kind       VARCHAR(128)   NOT NULL,
    chat       VARBINARY(256) NOT NULL,
    sender     VARBINARY(256) NOT NULL,
    message_id VARBINARY(256) NOT NULL,
    value      LONGBLOB       NOT NULL,
    sweep_at   BIGINT         NOT NULL,  -- sent, pending: when it was stored; secret: when it may go, 0 for never
    message_at BIGINT         NOT NULL,  -- secret: when its message was sent, 0 when unknown
    PRIMARY KEY (session_id, kind, chat, sender, message_id),
    INDEX whatsapp_messages_by_sweep (session_id, kind, sweep_at),
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
