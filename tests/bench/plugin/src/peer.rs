//! The peer: extism, with the same work in its own manner, which is JSON in and JSON out of a core module.

use anyhow::{Result, ensure};
use extism::{Manifest, Plugin, PluginBuilder, Wasm};
use serde_json::{Value, json};

/// The plugin, ready to be called.
pub(crate) struct Peer {
    plugin: Plugin,
    message: Value,
}

impl Peer {
    pub(crate) fn new(module: &[u8]) -> Result<Self> {
        let manifest = Manifest::new([Wasm::data(module)]).with_config_key("config", crate::CONFIG);
        let plugin = PluginBuilder::new(manifest).with_wasi(false).build()?;
        let message = json!({
            "id": "3EB0BEDDE45EF384377BD7", "event_id": "evt_0198", "session": "ses_0198",
            "chat": "6281381393739@s.whatsapp.net", "sender": "6281381393739@s.whatsapp.net", "sender_alt": null,
            "sender_name": "Somebody", "direction": "incoming", "is_group": false, "backfill": false,
            "sent_at": 1_643_723_400_000_u64, "text": crate::text(), "labels": {},
        });
        Ok(Self { plugin, message })
    }

    /// One call. The message is written as JSON for each, as a gateway on extism would.
    pub(crate) fn call(&mut self) -> Result<()> {
        let input = serde_json::to_string(&self.message)?;
        let output: String = self.plugin.call("on_message", input)?;
        let verdict: Value = serde_json::from_str(&output)?;
        ensure!(verdict["route_to"][0] == "billing", "the router said {output}");
        Ok(())
    }
}
