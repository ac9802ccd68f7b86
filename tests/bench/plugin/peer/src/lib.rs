//! The keyword router as an extism plugin: the message as JSON in, the verdict as JSON out.

use extism_pdk::{FnResult, config, plugin_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Config {
    routes: Vec<Route>,
}

#[derive(Deserialize)]
struct Route {
    words: Vec<String>,
    endpoints: Vec<String>,
}

#[derive(Deserialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
struct Verdict {
    label: String,
    route_to: Vec<String>,
}

#[plugin_fn]
pub fn on_message(input: String) -> FnResult<String> {
    let message: Message = serde_json::from_str(&input)?;
    let config: Config = serde_json::from_str(&config::get("config")?.unwrap_or_default())?;
    let text = message.text.to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
    for route in config.routes {
        if let Some(found) = route.words.iter().find(|word| words.contains(&word.as_str())) {
            let verdict = Verdict { label: found.clone(), route_to: route.endpoints };
            return Ok(serde_json::to_string(&verdict)?);
        }
    }
    Ok("null".to_owned())
}
