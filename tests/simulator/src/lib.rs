//! A simulated WhatsApp network on loopback, to which any WhatsApp Web client can link.
//!
//! One listener has four faces: `/ws/chat` speaks the protocol (Noise, binary stanzas), `/mms` and `/v` take and give
//! media, `/admin` is an HTTP API for scripts, `/` a page of the phones. Behind it stand simulated phones with real
//! Signal keys, an offline queue per linked device, groups, and faults on request.
//!
//! The order of reading: [`Network`] starts it; `server` takes connections and routes stanzas; `phone` is everything a
//! phone does; `mailbox` is the offline queue. Invariant: nothing a client sends makes the network panic.

mod account;
mod admin;
mod appstate;
mod devices;
mod directory;
mod faults;
mod group;
mod linking;
mod mailbox;
mod media;
mod network;
mod phone;
mod presence;
mod receipt;
mod server;
mod wire;

pub use faults::{Faults, StreamFault};
pub use group::{Addressing, Group, Rank};
pub use linking::LinkError;
pub use network::{GroupSpec, Network, NetworkConfig, NetworkError, PhoneSpec};
pub use phone::{Phone, PhoneError, Received, Ticks};
