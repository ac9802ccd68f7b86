//! Forward: makes the founding webhook body out of the event. The gateway installs it at first start.
//!
//! It needs no grant and reads no configuration. A body that a plugin before it has already given another shape is left
//! as it is; where one changed only the text or the labels, the change is kept.

mod body;

use exports::wagate::plugin::lifecycle::{self, PluginInfo};
use exports::wagate::plugin::webhook_transform::{self, Body, CallContext, Delivery, DeliveryPatch, Outcome};
use wagate::plugin::types::PluginError;

wit_bindgen::generate!({ path: "../../wit/v1", world: "webhook-plugin" });

struct Forward;
export!(Forward);

impl lifecycle::Guest for Forward {
    fn describe() -> PluginInfo {
        PluginInfo {
            name: "forward".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            wants: Vec::new(),
        }
    }

    fn init() -> Result<(), PluginError> {
        Ok(())
    }
}

impl webhook_transform::Guest for Forward {
    fn transform(_: CallContext, delivery: Delivery) -> Result<Outcome, PluginError> {
        let Body::Text(document) = &delivery.body else { return Ok(Outcome::Pass) };
        let shaped = body::founding(document).map(|body| DeliveryPatch {
            body: Some(Body::Text(body)),
            content_type: None,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            path_suffix: None,
        });
        Ok(shaped.map_or(Outcome::Pass, Outcome::Modify))
    }
}
