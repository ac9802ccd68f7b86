-- Events of every kind, not of received messages alone.

-- What is worth nothing the day after, somebody's presence, goes then, whatever else is kept for how long. Null for the rest.
ALTER TABLE events ADD COLUMN forget_at BIGINT;
CREATE INDEX events_fleeting ON events (forget_at);

-- What a message says, as JSON, until WhatsApp has accepted it: by then it is an event. `state` now counts to 5, played.
ALTER TABLE sends ADD COLUMN content LONGTEXT;

-- Reactions, edits and revocations were received messages until now; whoever got them goes on getting them.
UPDATE endpoints SET events = '["message.received","message.reaction","message.edited","message.revoked","plugin.*"]'
    WHERE events = '["message.received","plugin.*"]';
