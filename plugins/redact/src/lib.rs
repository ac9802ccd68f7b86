//! Redact: masks card numbers, IBANs, keys and words of your own in webhooks before they leave.
//!
//! Configuration, all optional: `{"words": ["Project Falcon"], "keep": ["id", "from", …]}`. Of a card or an IBAN the last
//! four characters stay, of a key its kind (`sk_live_[redacted]`), of a word nothing. In a JSON body only texts change, and
//! not in the members that `keep` names: ids and addresses, which are long numbers too. Any other text changes as a whole;
//! bytes stay. It masks what stands before it in the chain, so it belongs at the end, and is bound with the policy `closed` or
//! `park`: with `open`, a failure lets a webhook go out unmasked. It needs no grant.

mod body;
mod mask;

use std::sync::OnceLock;

use body::Redactor;
use exports::wagate::plugin::lifecycle::{self, PluginInfo};
use exports::wagate::plugin::webhook_transform::{self, Body, CallContext, Delivery, DeliveryPatch, Outcome};
use wagate::plugin::config;
use wagate::plugin::types::PluginError;

wit_bindgen::generate!({ path: "../../wit/v1", world: "webhook-plugin" });

struct Redact;
export!(Redact);

static REDACTOR: OnceLock<Redactor> = OnceLock::new();

impl lifecycle::Guest for Redact {
    fn describe() -> PluginInfo {
        PluginInfo {
            name: "redact".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            wants: Vec::new(),
        }
    }

    fn init() -> Result<(), PluginError> {
        let redactor = Redactor::read(&config::get_json()).map_err(PluginError::Config)?;
        REDACTOR.get_or_init(|| redactor);
        Ok(())
    }
}

impl webhook_transform::Guest for Redact {
    fn transform(_: CallContext, delivery: Delivery) -> Result<Outcome, PluginError> {
        let Body::Text(text) = &delivery.body else { return Ok(Outcome::Pass) };
        let masked = REDACTOR.get_or_init(Redactor::default).body(text).map(|body| DeliveryPatch {
            body: Some(Body::Text(body)),
            content_type: None,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            path_suffix: None,
        });
        Ok(masked.map_or(Outcome::Pass, Outcome::Modify))
    }
}
