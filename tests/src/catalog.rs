//! The plugins of `plugins/dist`, installed over the API.

use anyhow::Result;
use serde_json::json;

use crate::api::Api;

/// Has `keyword-router` look at every message of every session of this user, and send it where it goes anyway.
pub async fn keyword_router(api: &Api) -> Result<()> {
    let component = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/dist/keyword-router.wasm"))?;
    let plugin = api.install_plugin("keyword-router", component, &[]).await?;
    let routes = json!([
        { "words": ["invoice", "credit note", "refund"], "endpoints": ["billing"] },
        { "words": ["message"], "endpoints": ["default"] },
    ]);
    api.bind_plugin(&plugin, json!({ "config": { "routes": routes } })).await
}
