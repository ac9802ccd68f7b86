//! The keyword router as an extism plugin: the message as JSON in, the verdict as JSON out. Like ours, it reads its
//! configuration once an instance, and looks for words with the same code.

#[path = "../../../../../plugins/keyword-router/rust/src/router.rs"]
mod router;

use std::sync::OnceLock;

use extism_pdk::{Error, FnResult, config, plugin_fn};
use serde::{Deserialize, Serialize};

use self::router::Router;

static ROUTER: OnceLock<Router> = OnceLock::new();

#[derive(Deserialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
struct Verdict<'a> {
    labels: Labels,
    route_to: &'a [String],
}

#[derive(Serialize)]
struct Labels {
    route: String,
}

#[plugin_fn]
pub fn on_message(input: String) -> FnResult<String> {
    let message: Message = serde_json::from_str(&input)?;
    let endpoints = router()?.route(&message.text);
    let verdict = endpoints.map(|route_to| Verdict { labels: Labels { route: route_to.join(",") }, route_to });
    Ok(serde_json::to_string(&verdict)?)
}

fn router() -> Result<&'static Router, Error> {
    if let Some(router) = ROUTER.get() {
        return Ok(router);
    }
    let router = Router::read(&config::get("config")?.unwrap_or_default()).map_err(Error::msg)?;
    Ok(ROUTER.get_or_init(|| router))
}
