//! Keyword router: sends messages to webhook endpoints by the words in them.
//!
//! Configuration: `{"routes": [{"words": ["invoice", "credit note"], "endpoints": ["billing"]}], "otherwise": ["support"]}`.
//! The first route of which a word occurs decides: the message goes to those endpoints only, and the label `route` names
//! them. Words are whole words, in any case, and may be phrases. Where no route fits, it goes to `otherwise`, or, when
//! that is not set, to all endpoints. It needs no grant.

mod router;

use std::sync::OnceLock;

use exports::wagate::plugin::lifecycle::{self, PluginInfo};
use exports::wagate::plugin::message_filter::{self, CallContext, Message, Verdict};
use router::Router;
use wagate::plugin::config;
use wagate::plugin::types::{Content, Direction, MessagePatch, Pair, PluginError};

wit_bindgen::generate!({ path: "wit", world: "message-plugin" });

struct KeywordRouter;
export!(KeywordRouter);

/// Read by `init`, which the gateway calls before any message.
static ROUTER: OnceLock<Router> = OnceLock::new();

impl lifecycle::Guest for KeywordRouter {
    fn describe() -> PluginInfo {
        PluginInfo {
            name: "keyword-router".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            wants: Vec::new(),
        }
    }

    fn init() -> Result<(), PluginError> {
        let router = Router::read(&config::get_json()).map_err(PluginError::Config)?;
        ROUTER.get_or_init(|| router);
        Ok(())
    }
}

impl message_filter::Guest for KeywordRouter {
    fn on_message(_: CallContext, message: Message) -> Result<Verdict, PluginError> {
        let routed = ROUTER.get().filter(|_| message.direction == Direction::Incoming);
        let endpoints = routed.and_then(|router| router.route(text(&message.content)));
        Ok(endpoints.map_or(Verdict::Pass, |endpoints| Verdict::Modify(to(endpoints))))
    }
}

/// What a message says in words; nothing for a picture without a caption.
fn text(content: &Content) -> &str {
    match content {
        Content::Text(text) => &text.body,
        Content::Media(media) => media.caption.as_deref().unwrap_or_default(),
        Content::Other(other) => other.text.as_deref().unwrap_or_default(),
        Content::Reaction(_) => "",
    }
}

fn to(endpoints: &[String]) -> MessagePatch {
    MessagePatch {
        text: None,
        chat: None,
        set_labels: vec![Pair { name: "route".to_owned(), value: endpoints.join(",") }],
        remove_labels: Vec::new(),
        route_to: Some(endpoints.to_vec()),
    }
}
