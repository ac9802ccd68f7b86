//! The gateway as it is shipped believes WhatsApp and nobody else.

use anyhow::Result;
use serde_json::json;
use tempfile::TempDir;
use wagate_simulator::{Network, NetworkConfig};
use wagate_tests::process::{Setup, product_binary};

#[tokio::test]
async fn the_product_does_not_link_to_a_server_that_is_not_whatsapp() -> Result<()> {
    let network = Network::start(NetworkConfig::default()).await?;
    let phone = network.add_phone("Ana");
    let data = TempDir::new()?;
    let setup = Setup::new(&product_binary()?, data.path(), &network.ws_url())?;
    let gateway = setup.start().await?;
    let api = gateway.login().await?;
    let id = api.create_session("Support", None).await?;
    api.connect(&id).await?;
    // A second attempt shows that the first one failed.
    let session = api.wait_status(&id, |session| session["status"]["attempt"].as_u64() > Some(1)).await?;
    assert_eq!(session["status"]["state"], "connecting", "{session}");
    let error = session["status"]["last_error"].as_str().unwrap_or_default();
    assert!(error.contains("handshake"), "{error}");
    assert_eq!((network.logins(phone.number()), network.handshakes().len()), (0, 0));
    assert_eq!(api.get(&format!("/api/sessions/{id}/qr")).await?.1["code"], json!("qr_pending"));
    gateway.kill().await?;
    Ok(())
}
