-- What a linked WhatsApp account must keep: its device identity, Signal state, app state, and what the wire still owes.
--
-- Every row belongs to a session and goes with it. Every `value` is sealed (XChaCha20-Poly1305, bound to its row), so the
-- file alone gives nobody an account. Names (addresses, ids, collection names) stay readable.
-- Names are bytes: compared byte for byte on every engine, no collation, any content. A name over 255 bytes, which only a
-- peer up to no good would choose, stands as its first 224 and its SHA-256. `scope` is empty where a kind has none.
-- Times here are WhatsApp's: whole seconds since 1970, as the client hands them over.

-- Sealed records by name. Kinds: device, identity, session, prekey, signed-prekey, sender-key, sync-key, sync-version,
-- mutation-mac (scope: collection), base-key (scope: address), device-list, group. Ids of pre-keys are 4 bytes, big-endian.
CREATE TABLE whatsapp_keys (
    session_id TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    kind       TEXT    NOT NULL,
    scope      BLOB    NOT NULL,
    name       BLOB    NOT NULL,
    value      BLOB    NOT NULL,
    uploaded   BOOLEAN NOT NULL,  -- pre-keys: WhatsApp has the public half
    PRIMARY KEY (session_id, kind, scope, name)
) WITHOUT ROWID;

-- Which devices of a group hold our sender key. Not secret.
CREATE TABLE whatsapp_sender_key_devices (
    session_id TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    chat       BLOB    NOT NULL,
    device     BLOB    NOT NULL,
    has_key    BOOLEAN NOT NULL,
    PRIMARY KEY (session_id, chat, device)
) WITHOUT ROWID;
CREATE INDEX whatsapp_sender_key_devices_by_device ON whatsapp_sender_key_devices (session_id, device);

-- Which hidden address (LID) belongs to which phone number. A number may have had several; `seq` grows with every write
-- and tells the newest of those learnt in the same second.
CREATE TABLE whatsapp_lids (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    lid        BLOB   NOT NULL,
    phone      BLOB   NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    source     TEXT   NOT NULL,
    UNIQUE (session_id, lid)
);
CREATE INDEX whatsapp_lids_by_phone ON whatsapp_lids (session_id, phone);

-- Trusted-contact tokens, each with when it was received. `value` is null while we only know when we gave the contact ours.
CREATE TABLE whatsapp_tokens (
    session_id TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    jid        BLOB   NOT NULL,
    value      BLOB,
    token_at   BIGINT NOT NULL,
    sender_at  BIGINT,
    PRIMARY KEY (session_id, jid)
) WITHOUT ROWID;

-- What single messages leave behind. Kinds: sent (payload, for a retry), pending (received, not yet committed by us),
-- secret (opens later edits, votes and reactions).
CREATE TABLE whatsapp_messages (
    session_id TEXT   NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    kind       TEXT   NOT NULL,
    chat       BLOB   NOT NULL,
    sender     BLOB   NOT NULL,
    message_id BLOB   NOT NULL,
    value      BLOB   NOT NULL,
    sweep_at   BIGINT NOT NULL,  -- sent, pending: when it was stored; secret: when it may go, 0 for never
    message_at BIGINT NOT NULL,  -- secret: when its message was sent, 0 when unknown
    PRIMARY KEY (session_id, kind, chat, sender, message_id)
) WITHOUT ROWID;
CREATE INDEX whatsapp_messages_by_sweep ON whatsapp_messages (session_id, kind, sweep_at);
