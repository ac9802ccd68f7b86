//! The HTTP side: REST and WebSocket under `/api`, health, and the API's own description.
//!
//! To add an endpoint: write the handler in `routes/<resource>.rs` with `#[utoipa::path]`, name it in [`router`], run
//! `make api-docs`. A handler reads its request with the extractors of [`extract`] and [`caller`], calls one room, and
//! answers; whatever goes wrong becomes an [`error::ApiError`], the only place that knows statuses.
//!
//! The address is listened on before there is a store; until then [`waiting`] answers.
//!
//! Invariant: a request's [`crate::model::Scope`] comes from its token and from nothing else.

mod caller;
mod docs;
mod error;
mod extract;
mod health;
mod live;
mod middleware;
mod peer;
mod qr;
mod router;
mod routes;
mod serve;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;

use crate::app::tasks::Tasks;
use crate::auth::Auth;
use crate::config::HttpConfig;
use crate::egress::Egress;
use crate::model::Clock;
use crate::outbound::Outbound;
use crate::plugin::catalog::Catalog;
use crate::session::Sessions;
use crate::store::Store;
use crate::webhook::Webhooks;

pub use docs::openapi;
pub use serve::Server;
pub use waiting::WaitsFor;

/// The rooms the HTTP side talks to.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where everything is stored.
    pub store: Store,
    /// The running sessions.
    pub sessions: Sessions,
    /// The sender.
    pub outbound: Outbound,
    /// The catalog of plugins.
    pub catalog: Catalog,
    /// Users and tokens.
    pub auth: Auth,
    /// The outgoing client, which judges webhook addresses.
    pub egress: Egress,
    /// The deliverer.
    pub webhooks: Webhooks,
    /// The folder that copies of the database go into.
    pub backups: PathBuf,
    /// The time.
    pub clock: Clock,
    /// Listener and limits.
    pub config: HttpConfig,
}

/// What every handler can reach.
struct Site {
    parts: Parts,
    tasks: Tasks,
    sockets: live::Seats,
}

type Shared = axum::extract::State<Arc<Site>>;
