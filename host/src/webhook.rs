//! Deliveries on their way: claim what is due, attempt it, settle it.

pub mod body;

use crate::app::tasks::Tasks;
use crate::config::WebhookConfig;
use crate::egress::Egress;
use crate::model::Clock;
use crate::store::Store;

/// The deliverer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks;

impl Webhooks {
    /// Starts delivering what is due, now and as it becomes due, until `tasks` stops.
    pub fn start(_store: Store, _egress: Egress, _clock: Clock, _config: WebhookConfig, _tasks: &Tasks) -> Self {
        unimplemented!()
    }

    /// New deliveries were committed: look at once instead of at the next tick.
    pub fn wake(&self) {
        unimplemented!()
    }
}
