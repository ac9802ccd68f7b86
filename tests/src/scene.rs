//! The scene most tests play in: a gateway with one linked session and a webhook, its phone, and a friend.

use anyhow::{Context as _, Result};
use serde_json::Value;
use wagate::config::Config;
use wagate::model::Clock;
use wagate_simulator::{Network, NetworkConfig, Phone};

use crate::api::PATIENCE;
use crate::gateway::{Gateway, Resting};
use crate::receiver::Receiver;

/// A running gateway and those it deals with.
pub struct Scene {
    /// The simulated network.
    pub network: Network,
    /// The gateway.
    pub gateway: Gateway,
    /// The phone the session is linked to.
    pub account: Phone,
    /// Somebody else's phone.
    pub friend: Phone,
    /// The session.
    pub id: String,
    /// Where its webhooks go.
    pub hook: Receiver,
}

/// The same while the gateway does not run.
pub struct Interval {
    /// The simulated network.
    pub network: Network,
    /// The gateway's state.
    pub gateway: Resting,
    /// The phone the session is linked to.
    pub account: Phone,
    /// Somebody else's phone.
    pub friend: Phone,
    /// The session.
    pub id: String,
    /// Where its webhooks go.
    pub hook: Receiver,
}

impl Scene {
    /// Sets it.
    pub async fn set() -> Result<Self> {
        Self::set_with(|_| ()).await
    }

    /// Sets it with settings of the test's own.
    pub async fn set_with(change: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::set_at(Clock::System, change).await
    }

    /// Sets it with settings and a clock of the test's own.
    pub async fn set_at(clock: Clock, change: impl FnOnce(&mut Config)) -> Result<Self> {
        let network = Network::start(NetworkConfig::default()).await?;
        let (account, friend) = (network.add_phone("Account"), network.add_phone("Friend"));
        let hook = Receiver::start().await?;
        let gateway = Gateway::start_at(clock, &network, change).await?;
        let id = gateway.link(&account, Some(&hook.url())).await?;
        Ok(Self { network, gateway, account, friend, id, hook })
    }

    /// The session as the API shows it.
    pub async fn session(&self) -> Result<Value> {
        Ok(self.gateway.get(&format!("/api/sessions/{}", self.id)).await?.1)
    }

    /// Waits until `n` webhooks came; their messages, in the order they came.
    pub async fn messages(&self, n: usize) -> Result<Vec<Value>> {
        messages(&self.hook, n).await
    }

    /// Writes from the friend to the account and waits until the webhook has it: everything written before is through.
    pub async fn mark(&self, text: &str) -> Result<()> {
        self.friend.send_text(self.account.number(), text).await?;
        self.hook.wait_until(PATIENCE, |request| text_of(request.json().ok().as_ref()) == text).await.map(drop)
    }

    /// Waits until WhatsApp has an acknowledgement for everything. It follows the webhook by a moment, or goes before.
    pub async fn acknowledged(&self) -> Result<()> {
        let waiting = async {
            while self.account.unacked() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.context("something stayed unacknowledged")
    }

    /// Stops the gateway.
    pub async fn interval(self) -> Interval {
        let Self { network, gateway, account, friend, id, hook } = self;
        Interval { network, gateway: gateway.rest().await, account, friend, id, hook }
    }

    /// Ends everything.
    pub async fn end(self) {
        self.gateway.stop().await;
        self.network.stop().await;
    }
}

impl Interval {
    /// Starts the gateway again.
    pub async fn resume(self) -> Result<Scene> {
        self.resume_with(|_| ()).await
    }

    /// Starts the gateway again with settings of the test's own.
    pub async fn resume_with(self, change: impl FnOnce(&mut Config)) -> Result<Scene> {
        let Self { network, gateway, account, friend, id, hook } = self;
        Ok(Scene { network, gateway: gateway.wake_with(change).await?, account, friend, id, hook })
    }
}

/// Waits until `n` webhooks came; their messages, in the order they came.
pub async fn messages(hook: &Receiver, n: usize) -> Result<Vec<Value>> {
    let requests = hook.wait_for(n, PATIENCE).await?;
    requests.iter().map(|request| Ok(request.json()?["message"].clone())).collect()
}

/// The texts of messages.
pub fn texts(messages: &[Value]) -> Result<Vec<String>> {
    messages.iter().map(|message| Ok(message["message"].as_str().context("no text")?.to_owned())).collect()
}

fn text_of(body: Option<&Value>) -> &str {
    body.and_then(|body| body["message"]["message"].as_str()).unwrap_or_default()
}
