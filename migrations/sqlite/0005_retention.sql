-- Deleting what has had its time, and claiming a page of deliveries at once.

-- WhatsApp may deliver a message again for 30 days. An event that is deleted sooner leaves its row behind with its
-- digest until `digest_until`, its kind `pruned`, its payload empty. Null while the event is whole. The index serves
-- both: whole events by their age, digests by the end of their time.
ALTER TABLE events ADD COLUMN digest_until BIGINT;
CREATE INDEX events_by_age ON events (digest_until, stored_at) WHERE routed_at IS NOT NULL;

CREATE INDEX attempts_by_age ON attempts (started_at);
CREATE INDEX sends_by_age ON sends (created_at);
CREATE INDEX plugin_sends_by_age ON plugin_sends (created_at);

-- The mark of the newest claim, a random number. It tells one claim's rows from those of another that ends in the same
-- millisecond.
ALTER TABLE deliveries ADD COLUMN claim BIGINT;

-- Names of what plugins keep are bytes, because a plugin chooses them and may put anything in. The other engines had
-- no earlier table to change.
CREATE TABLE plugin_values_by_bytes (
    plugin_id  TEXT   NOT NULL REFERENCES plugins (id) ON DELETE CASCADE,
    name       BLOB   NOT NULL,
    value      BLOB   NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (plugin_id, name)
);
INSERT INTO plugin_values_by_bytes (plugin_id, name, value, expires_at)
    SELECT plugin_id, CAST(name AS BLOB), value, expires_at FROM plugin_values;
DROP TABLE plugin_values;
ALTER TABLE plugin_values_by_bytes RENAME TO plugin_values;
