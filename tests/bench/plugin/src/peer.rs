//! The peer: extism, with the same work in its own manner, which is JSON in and JSON out of a core module.

use anyhow::{Result, ensure};
use extism::{Manifest, PluginBuilder, Wasm};
use serde_json::json;

/// Median of calls on one kept instance.
pub(crate) fn warm(module: &[u8]) -> Result<f64> {
    let manifest = Manifest::new([Wasm::data(module)]).with_config_key("config", crate::CONFIG);
    let mut plugin = PluginBuilder::new(manifest).with_wasi(false).build()?;
    let input = json!({
        "id": "3EB0BEDDE45EF384377BD7", "event_id": "evt_0198", "session": "ses_0198",
        "chat": "6281381393739@s.whatsapp.net", "sender": "6281381393739@s.whatsapp.net", "sender_alt": null,
        "sender_name": "Somebody", "direction": "incoming", "is_group": false, "backfill": false,
        "sent_at": 1_643_723_400_000_u64, "text": crate::text(), "labels": {},
    });
    let mut call = || {
        // A message is written as JSON for each call, as a gateway on extism would.
        let input = serde_json::to_string(&input)?;
        let output: String = plugin.call("on_message", input)?;
        let verdict: serde_json::Value = serde_json::from_str(&output)?;
        ensure!(verdict["route_to"][0] == "billing", "the router said {output}");
        Ok(())
    };
    let runtime = tokio::runtime::Handle::current();
    let _inside = runtime.enter();
    let mut times = Vec::with_capacity(crate::CALLS);
    for n in 0..crate::WARM_UP + crate::CALLS {
        let began = std::time::Instant::now();
        call()?;
        if n >= crate::WARM_UP {
            times.push(began.elapsed());
        }
    }
    times.sort_unstable();
    Ok(times[crate::CALLS / 2].as_secs_f64() * 1e6)
}
