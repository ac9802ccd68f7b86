//! Cloud API shape: webhook bodies as Meta's WhatsApp Cloud API posts them, for receivers written for it.
//!
//! Configuration, all optional: `{"business_account_id": "…", "phone_number_id": "…"}`, which Meta would have given out;
//! else both are the session's id. The body is made from the event, wherever in the chain the plugin stands: one that
//! masks or adds comes after it. What a plugin raised, and what the account itself wrote, passes unchanged. Media has no
//! Cloud API id and comes with its caption alone. It needs no grant.

mod shape;

use std::sync::OnceLock;

use exports::wagate::plugin::lifecycle::{self, PluginInfo};
use exports::wagate::plugin::webhook_transform::{self, Body, CallContext, Delivery, DeliveryPatch, Outcome};
use shape::Account;
use wagate::plugin::config;
use wagate::plugin::types::PluginError;

wit_bindgen::generate!({ path: "../../wit/v1", world: "webhook-plugin" });

struct CloudApiShape;
export!(CloudApiShape);

static ACCOUNT: OnceLock<Account> = OnceLock::new();

impl lifecycle::Guest for CloudApiShape {
    fn describe() -> PluginInfo {
        PluginInfo {
            name: "cloud-api-shape".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            wants: Vec::new(),
        }
    }

    fn init() -> Result<(), PluginError> {
        let account = settings::read(&config::get_json()).map_err(PluginError::Config)?;
        ACCOUNT.get_or_init(|| account);
        Ok(())
    }
}

impl webhook_transform::Guest for CloudApiShape {
    fn transform(_: CallContext, delivery: Delivery) -> Result<Outcome, PluginError> {
        let account = ACCOUNT.get_or_init(Account::default);
        let shaped = shape::webhook(&delivery.event, account).map(|body| DeliveryPatch {
            body: Some(Body::Text(body)),
            content_type: Some("application/json".to_owned()),
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            path_suffix: None,
        });
        Ok(shaped.map_or(Outcome::Pass, Outcome::Modify))
    }
}
