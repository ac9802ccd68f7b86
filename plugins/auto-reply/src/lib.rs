//! Auto-reply: answers whoever writes outside office hours, once a chat and quiet time.
//!
//! Configuration: `{"text": "We are back at nine.", "office_hours": {"monday": "09:00-12:30, 13:30-17:00", …},
//! "utc_offset_minutes": 60, "quiet_hours": 12}`. Days that are not named are closed; the offset from UTC is fixed (default
//! 0), the quiet time 1 to 720 hours (default 12). It needs the grants `kv` and `outbox.reply`.
//!
//! Invariant: it never answers itself, a group, a channel, or what was written more than ten minutes ago; and with the
//! quiet time remembered in `kv`, two gateways that answer each other fall silent after one reply each.

mod hours;
mod settings;

use std::sync::OnceLock;

use exports::wagate::plugin::lifecycle::{self, PluginInfo};
use exports::wagate::plugin::message_filter::{self, CallContext, Message, Verdict};
use settings::Settings;
use wagate::plugin::types::{Content, Direction, MessagePatch, Pair, PluginError};
use wagate::plugin::{config, kv, outbox};

wit_bindgen::generate!({ path: "../../wit/v1", world: "message-plugin" });

struct AutoReply;
export!(AutoReply);

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// What is older was not written to somebody who waits for an answer now.
const RECENT_MS: u64 = 10 * 60 * 1000;

impl lifecycle::Guest for AutoReply {
    fn describe() -> PluginInfo {
        PluginInfo {
            name: "auto-reply".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            wants: vec!["kv".to_owned(), "outbox.reply".to_owned()],
        }
    }

    fn init() -> Result<(), PluginError> {
        let settings = Settings::read(&config::get_json()).map_err(PluginError::Config)?;
        SETTINGS.get_or_init(|| settings);
        Ok(())
    }
}

impl message_filter::Guest for AutoReply {
    fn on_message(context: CallContext, message: Message) -> Result<Verdict, PluginError> {
        let Some(settings) = SETTINGS.get() else { return Ok(Verdict::Pass) };
        if !awaits_answer(&message, context.now) || settings.is_open(context.now) {
            return Ok(Verdict::Pass);
        }
        let key = format!("replied/{}", message.chat);
        if kv::get(&key).map_err(|error| not_kept(&error))?.is_some() {
            return Ok(Verdict::Pass);
        }
        let ttl = Some(settings.quiet_ms());
        kv::set(&key, context.now.to_string().as_bytes(), ttl).map_err(|error| not_kept(&error))?;
        outbox::reply(&outbox::Draft { text: settings.text.clone() }).map_err(|error| not_sent(&error))?;
        Ok(Verdict::Modify(labelled()))
    }
}

/// Whether a person wrote this just now. In a chat with a person the sender is the chat, under one address or the other;
/// where it is not, the account itself wrote.
fn awaits_answer(message: &Message, now: u64) -> bool {
    let is_person = ["@s.whatsapp.net", "@lid"].iter().any(|server| message.chat.ends_with(server))
        || message.chat.bytes().all(|byte| byte.is_ascii_digit());
    let is_theirs = message.sender == message.chat || message.sender_alt.as_ref() == Some(&message.chat);
    let says_something = matches!(message.content, Content::Text(_) | Content::Media(_));
    let is_recent = now.saturating_sub(message.sent_at) <= RECENT_MS;
    message.direction == Direction::Incoming
        && !message.is_group
        && is_person
        && is_theirs
        && says_something
        && is_recent
}

fn labelled() -> MessagePatch {
    MessagePatch {
        text: None,
        chat: None,
        set_labels: vec![Pair { name: "auto-reply".to_owned(), value: "sent".to_owned() }],
        remove_labels: Vec::new(),
        route_to: None,
    }
}

fn not_kept(error: &kv::Error) -> PluginError {
    PluginError::Fatal(format!("cannot remember whom it answered: {error}"))
}

fn not_sent(error: &outbox::Error) -> PluginError {
    PluginError::Fatal(format!("cannot reply: {error}"))
}

#[cfg(test)]
mod tests {
    use wagate::plugin::types::{ReactionContent, TextContent};

    use super::*;

    const NOW: u64 = 1_643_723_400_000;

    fn awaits(change: impl FnOnce(&mut Message)) -> bool {
        let mut message = Message {
            id: "3EB0".to_owned(),
            event_id: "evt_1".to_owned(),
            session: "1".to_owned(),
            chat: "6281381393739@s.whatsapp.net".to_owned(),
            sender: "6281381393739@s.whatsapp.net".to_owned(),
            sender_alt: None,
            sender_name: None,
            direction: Direction::Incoming,
            is_group: false,
            backfill: false,
            sent_at: NOW,
            content: Content::Text(TextContent { body: "hello".to_owned() }),
            labels: Vec::new(),
        };
        change(&mut message);
        awaits_answer(&message, NOW)
    }

    #[test]
    fn answers_a_person_who_wrote_just_now() {
        assert!(awaits(|_| {}));
        assert!(awaits(|message| message.sent_at = NOW - RECENT_MS));
        assert!(awaits(|message| message.sent_at = NOW + 5_000));
        assert!(awaits(|message| {
            message.chat = "100000000000001@lid".to_owned();
            message.sender_alt = Some("100000000000001@lid".to_owned());
        }));
    }

    #[test]
    fn answers_nobody_else() {
        assert!(!awaits(|message| message.direction = Direction::Outgoing));
        assert!(!awaits(|message| message.is_group = true));
        assert!(!awaits(|message| message.sender = "6282260790996@s.whatsapp.net".to_owned()));
        assert!(!awaits(|message| message.sent_at = NOW - RECENT_MS - 1));
        assert!(!awaits(|message| message.content = Content::Reaction(ReactionContent { emoji: "👍".to_owned() })));
        assert!(!awaits(|message| {
            message.chat = "1203630@newsletter".to_owned();
            message.sender = "1203630@newsletter".to_owned();
        }));
    }
}
