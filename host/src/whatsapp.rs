//! The only room that names the WhatsApp library.
//!
//! [`Whatsapp`] holds what all sessions share (TLS configuration, client version, outgoing HTTP); [`Whatsapp::open`]
//! starts one account on its rows and answers with the [`Account`] to call and the [`News`] to follow. The five traps
//! of whatsapp-rust 0.7.0 are handled here or in `session`:
//!
//! 1. a send is "done" for the library when it is on the wire: [`Account::send`] waits for the server's word (`acks`);
//! 2. failed connects raise no event: the `transport` tells every attempt;
//! 3. a stopped client is dead: an account is opened anew on the same rows;
//! 4. two clients must never share a row: `session` keeps one task an account;
//! 5. protocol traffic arrives as messages: `translate` leaves it out.
//!
//! Invariant: no type of the library leaves this room.

mod account;
mod acks;
mod hook;
mod http;
pub mod keys;
mod news;
mod people;
mod translate;
mod transport;
mod version;

use std::sync::{Arc, OnceLock};

use tokio::sync::{OnceCell, mpsc, watch};
use whatsapp_rust::TokioRuntime;
use whatsapp_rust::bot::Bot;
use whatsapp_rust::wacore::store::DevicePropsOverride;
use whatsapp_rust::waproto::whatsapp::device_props::PlatformType;

use crate::app::tasks::Tasks;
use crate::config::WhatsappConfig;
use crate::egress::Egress;
use crate::model::{Clock, SessionId};
use crate::store::Store;

pub use account::{Account, AccountError};
pub use hook::Receive;
pub use news::News;

/// What all accounts share. Cheap to clone.
#[derive(Clone)]
pub struct Whatsapp {
    shared: Arc<Shared>,
}

struct Shared {
    config: WhatsappConfig,
    store: Store,
    egress: Egress,
    clock: Clock,
    tasks: Tasks,
    receive: Receive,
    tls: Arc<rustls::ClientConfig>,
    version: version::Version,
}

/// Why an account could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No client version to present.
    #[error("{0}")]
    Version(String),
    /// The keys could not be read, or the library refused them.
    #[error("the account could not be opened: {0}")]
    Library(String),
}

impl Whatsapp {
    /// The shared parts. `receive` makes received messages durable.
    pub fn new(
        config: WhatsappConfig,
        store: Store,
        egress: Egress,
        clock: Clock,
        tasks: Tasks,
        receive: Receive,
    ) -> Result<Self, rustls::Error> {
        let version = version::Version::new(config.version);
        let shared = Shared { config, store, egress, clock, tasks, receive, tls: tls()?, version };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Starts the account of a session on its stored keys; on none, it asks to be linked.
    pub async fn open(&self, session: &SessionId) -> Result<(Account, mpsc::UnboundedReceiver<News>), OpenError> {
        let shared = &*self.shared;
        let version = shared.version.current(&shared.store, &shared.egress, &shared.clock).await;
        let version = version.map_err(OpenError::Version)?;
        let (news, receiver) = news::channel();
        let acks = Arc::new(acks::Acks::default());
        let redelivery = hook::Redelivery::new(shared.tasks.clone());
        let hook = hook::Hook { session: session.clone(), receive: Arc::clone(&shared.receive), redelivery };
        let keys = keys::KeyStore::new(shared.store.keys(session.clone()));
        let client = Arc::new(OnceLock::new());
        let unhooked = hook::Unhooked { hook: hook.clone(), tasks: shared.tasks.clone(), client: Arc::clone(&client) };
        let bot = Bot::builder()
            .with_backend(keys.clone())
            .with_transport_factory(self.dialer(news.clone()))
            .with_http_client(http::MediaHttp(shared.egress.clone()))
            .with_runtime(TokioRuntime)
            .with_version(version)
            .with_device_props(
                DevicePropsOverride::new()
                    .with_os(shared.config.device_name.as_str())
                    .with_platform_type(PlatformType::CHROME),
            )
            .skip_history_sync()
            .with_inbound_durability_hook(hook)
            .with_event_handler(news::Listener { news, acks: Arc::clone(&acks) })
            .with_event_handler(unhooked)
            .build()
            .await
            .map_err(|error| OpenError::Library(error.to_string()))?;
        let running = bot.client();
        // The cell is fresh, so this cannot find it taken.
        let _ = client.set(Arc::downgrade(&running));
        let account = Account {
            client: running,
            acks,
            ack_timeout: shared.config.ack_timeout,
            clock: shared.clock.clone(),
            ended: self.run(bot),
            keys,
            stopped: OnceCell::new(),
        };
        Ok((account, receiver))
    }

    /// The server called our version outdated: the next account opened presents a fresh one.
    pub async fn version_is_outdated(&self) {
        self.shared.version.forget(&self.shared.store).await;
    }

    fn dialer(&self, news: news::NewsSender) -> transport::Dialer {
        transport::Dialer {
            url: self.shared.config.url.clone(),
            tls: Arc::clone(&self.shared.tls),
            tasks: self.shared.tasks.clone(),
            news,
        }
    }

    fn run(&self, bot: Bot) -> watch::Receiver<bool> {
        let (ended, receiver) = watch::channel(false);
        self.shared.tasks.spawn("whatsapp account", async move {
            bot.run().await;
            ended.send_replace(true);
        });
        receiver
    }
}

/// One TLS configuration for all sessions: Mozilla's roots, ring.
fn tls() -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
