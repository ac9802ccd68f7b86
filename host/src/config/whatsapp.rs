//! The connection to WhatsApp.

use std::time::Duration;

use url::{Host, Url};

use super::value::{count, duration, parsed, words};
use super::{ConfigError, Setting, Values};

/// The connection to WhatsApp.
#[derive(Clone, Debug)]
pub struct WhatsappConfig {
    /// The server. `WHATSAPP_URL`, default `wss://web.whatsapp.com/ws/chat`.
    pub url: Url,
    /// The web client version to present; fetched and cached when not given. `WHATSAPP_VERSION` as `2.3000.1`.
    pub version: Option<(u32, u32, u32)>,
    /// The name shown in the phone's list of linked devices. Default `wagate`.
    pub device_name: String,
    /// Time the server has to accept a send. Default 20 s.
    pub ack_timeout: Duration,
    /// Sessions that may be connecting at once after a start. Default 20.
    pub starting_at_once: usize,
}

impl WhatsappConfig {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let url: Url = values.required(&URL, parsed)?;
        if let Err(reason) = may_dial(&url, cfg!(feature = "demo")) {
            return Err(values.refuse(&URL, reason));
        }
        Ok(Self {
            url,
            version: values.optional(&VERSION, version)?,
            device_name: values.required(&DEVICE_NAME, words)?,
            ack_timeout: values.required(&ACK_TIMEOUT, duration)?,
            starting_at_once: values.required(&STARTING_AT_ONCE, count)?,
        })
    }
}

/// Whether this build may speak to that server. A demo build believes any server, so it meets none but this machine's;
/// clear text stays on this machine in every build.
pub(super) fn may_dial(url: &Url, demo: bool) -> Result<(), String> {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(format!("expected {}", URL.expects)),
    };
    match url.scheme() {
        "ws" | "wss" if demo && !loopback => Err(
            "this is a demo build, which trusts any server and therefore meets the simulated WhatsApp on this machine \
             only; run `wagate demo`, give a loopback address, or build without the feature `demo`"
                .to_owned(),
        ),
        "ws" if !loopback => Err("ws:// is clear text and only for this machine; use wss://".to_owned()),
        "ws" | "wss" => Ok(()),
        _ => Err(format!("expected {}", URL.expects)),
    }
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let version = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(version)
}

pub(super) const SETTINGS: &[&Setting] = &[&URL, &VERSION, &DEVICE_NAME, &ACK_TIMEOUT, &STARTING_AT_ONCE];

static URL: Setting =
    Setting::new("whatsapp.url", "WHATSAPP_URL", "a wss:// address", "Address of WhatsApp's server for web clients.")
        .default("wss://web.whatsapp.com/ws/chat");

static VERSION: Setting = Setting::new(
    "whatsapp.version",
    "WHATSAPP_VERSION",
    "three numbers such as 2.3000.1",
    "Version of the web client to present. Fetched from WhatsApp and remembered when not set.",
)
.sample("2.3000.1");

static DEVICE_NAME: Setting = Setting::new(
    "whatsapp.device_name",
    "WHATSAPP_DEVICE_NAME",
    "a name",
    "Name shown in the phone's list of linked devices.",
)
.default("wagate");

static ACK_TIMEOUT: Setting = Setting::new(
    "whatsapp.ack_timeout",
    "WHATSAPP_ACK_TIMEOUT",
    "a time such as 20s",
    "Time WhatsApp's server has to accept a send.",
)
.default("20s");

static STARTING_AT_ONCE: Setting = Setting::new(
    "whatsapp.starting_at_once",
    "WHATSAPP_STARTING_AT_ONCE",
    "a number from 1",
    "Sessions that may be connecting at once after a start.",
)
.default("20");
