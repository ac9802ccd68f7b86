//! The handlers, one resource a file.

pub(super) mod backup;
pub(super) mod contacts;
pub(super) mod deliveries;
pub(super) mod endpoints;
pub(super) mod events;
pub(super) mod login;
pub(super) mod pairing;
pub(super) mod plugins;
pub(super) mod replays;
pub(super) mod send;
pub(super) mod sessions;
pub(super) mod users;
pub(super) mod vault;
pub(super) mod webhook;

use serde::Serialize;
use utoipa::ToSchema;

/// An answer that only says it worked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {
    /// Always true; failures have another status and the error object.
    #[schema(example = true)]
    success: bool,
    /// What was done.
    message: &'static str,
}

impl Done {
    fn new(message: &'static str) -> Self {
        Self { success: true, message }
    }
}
