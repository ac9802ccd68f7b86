//! What the guide plays on: its two phone numbers, its two groups, a gateway in demo mode, where `admin`/`admin` logs in.

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use wagate::app::{App, Mode};
use wagate_simulator::{GroupSpec, Network, NetworkConfig, Phone, PhoneSpec};
use wagate_tests::api::Api;
use wagate_tests::gateway::config;
use wagate_tests::receiver::Receiver;

/// The number of the linked account in the guide.
pub(super) const ACCOUNT: &str = "6282260790996";
/// The number it writes to, a business.
pub(super) const OTHER: &str = "6281381393739";
/// The session id of most samples.
pub(super) const SESSION: &str = "1234567890";

/// Everything that runs.
pub(super) struct Stage {
    pub(super) network: Network,
    pub(super) account: Phone,
    pub(super) other: Phone,
    pub(super) api: Api,
    /// Stands where the guide has `https://myapp.com`.
    pub(super) receiver: Receiver,
    app: App,
    _folder: TempDir,
}

impl Stage {
    /// Sets it up with nothing linked.
    pub(super) async fn set() -> Result<Self> {
        let network = Network::start(NetworkConfig::default()).await?;
        let phone = |name: &str, number: &str, business: Option<&str>| {
            network.add_phone_with(PhoneSpec {
                name: name.to_owned(),
                number: Some(number.to_owned()),
                business: business.map(str::to_owned),
            })
        };
        let account = phone("Account", ACCOUNT, None)?;
        let other = phone("Other", OTHER, Some("Business Name"))?;
        let folder = TempDir::new()?;
        let app = App::start(config(folder.path(), &network)?, Mode::Demo).await?;
        let api = Api::login(&format!("http://{}", app.addr()), "admin", "admin").await?;
        let receiver = Receiver::start().await?;
        Ok(Self { network, account, other, api, receiver, app, _folder: folder })
    }

    /// The same with the account linked as the guide's session.
    pub(super) async fn linked() -> Result<Self> {
        let stage = Self::set().await?;
        let account = stage.account.clone();
        stage.link(SESSION, &account).await?;
        Ok(stage)
    }

    /// Creates a session under a chosen id.
    pub(super) async fn create(&self, id: &str) -> Result<()> {
        let (status, answer) = self.api.post("/api/sessions", json!({ "id": id, "name": id })).await?;
        ensure!(status == StatusCode::CREATED, "{status} {answer}");
        Ok(())
    }

    /// Creates a session under a chosen id and links it to `phone`.
    pub(super) async fn link(&self, id: &str, phone: &Phone) -> Result<()> {
        self.create(id).await?;
        self.api.connect(id).await?;
        self.scan(id, phone).await
    }

    /// Has `phone` scan the session's code and waits until it is connected.
    pub(super) async fn scan(&self, id: &str, phone: &Phone) -> Result<()> {
        phone.scan(&self.api.qr(id).await?).await?;
        self.api.wait_connected(id).await
    }

    /// Makes the two groups the guide lists, with its ids, names, topics, sizes and roles.
    pub(super) fn found_groups(&self) -> Result<()> {
        let extras: Vec<Phone> = (1..=13).map(|n| self.network.add_phone(&format!("Member {n}"))).collect();
        let family = GroupSpec {
            id: Some("120363302171476233".to_owned()),
            subject: "Family Group".to_owned(),
            topic: "Family chat group".to_owned(),
            ..GroupSpec::default()
        };
        let work = GroupSpec {
            id: Some("6281381393739-1624931511".to_owned()),
            subject: "Work Team".to_owned(),
            ..GroupSpec::default()
        };
        let members: Vec<&Phone> = std::iter::once(&self.account).chain(extras.iter().take(6)).collect();
        self.network.create_group_with(&family, &self.other, &members);
        let members: Vec<&Phone> = std::iter::once(&self.other).chain(&extras).collect();
        let work = self.network.create_group_with(&work, &self.account, &members);
        // In the guide the account owns this group and is admin of it, but no longer super admin.
        ensure!(work.set_admin(&self.account, true), "the owner is not in the group");
        Ok(())
    }

    /// Waits until `phone` shows `text`; gives the chat it stands in and who wrote it.
    pub(super) async fn shown(&self, phone: &Phone, text: &str) -> Result<(String, String)> {
        let patience = wagate_tests::api::PATIENCE;
        let seen = phone.wait_for(patience, |received| received.text.as_deref() == Some(text)).await;
        let seen = seen.with_context(|| format!("{text:?} did not arrive on {}", phone.number()))?;
        Ok((seen.chat, seen.from))
    }

    /// Stops everything.
    pub(super) async fn strike(self) {
        self.app.stop().await;
        self.network.stop().await;
    }
}
