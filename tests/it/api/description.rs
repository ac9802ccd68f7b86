//! The API's description: `api-docs.yaml` is what the handlers say.

use std::path::Path;

use anyhow::Result;

use super::{Site, text};

#[test]
fn the_committed_description_is_what_the_handlers_say() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api-docs.yaml");
    let (committed, said) = (text(&file)?, wagate::http::openapi());
    let differs = committed.lines().zip(said.lines()).position(|(committed, said)| committed != said);
    assert!(
        committed == said,
        "api-docs.yaml is out of date from line {}; run: make api-docs (cargo run -- export openapi > api-docs.yaml)",
        differs.unwrap_or(committed.lines().count().min(said.lines().count())) + 1
    );
    Ok(())
}

#[tokio::test]
async fn the_gateway_serves_its_own_description() -> Result<()> {
    let site = Site::start().await?;
    let answer = site.http.get(format!("{}/api-docs.yaml", site.base)).send().await?;
    assert_eq!(answer.headers()["content-type"], "application/yaml");
    assert_eq!(answer.text().await?, wagate::http::openapi());
    site.stop().await
}

/// Every request of the founding guide's table is described under its own path and method.
#[test]
fn the_founding_requests_are_described() {
    let said = wagate::http::openapi();
    let founding = [
        ("/api/login", "post"),
        ("/api/sessions", "get"),
        ("/api/sessions", "post"),
        ("/api/sessions/{id}", "get"),
        ("/api/sessions/{id}", "delete"),
        ("/api/sessions/{id}/name", "put"),
        ("/api/sessions/{id}/webhook", "put"),
        ("/api/sessions/{id}/connect", "post"),
        ("/api/sessions/{id}/disconnect", "post"),
        ("/api/sessions/{id}/send", "post"),
        ("/api/sessions/{id}/check-number", "post"),
        ("/api/sessions/{id}/groups", "get"),
        ("/api/send", "post"),
        ("/api/ws/{id}", "get"),
    ];
    for (path, method) in founding {
        let after = said.split_once(&format!("\n  {path}:\n")).map(|(_, after)| after).unwrap_or_default();
        let mut described = after.lines().take_while(|line| line.starts_with("    "));
        assert!(described.any(|line| line == format!("    {method}:")), "{method} {path}");
    }
}
