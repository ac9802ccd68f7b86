//! What plugins want changed, checked and put in place.
//!
//! Pure. A patch that breaks a rule of the contract changes nothing: the call counts as failed.
//!
//! Invariant: a message keeps its id, session and sender, a webhook its host and the gateway's own headers.

pub(super) mod delivery;
pub(super) mod message;

pub(super) use delivery::is_gateways_own;

/// Why a patch breaks the contract.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("its answer is not valid: {0}")]
pub(super) struct PatchError(pub(super) String);

impl PatchError {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Refuses unless `sound`.
fn check(sound: bool, what: &str) -> Result<(), PatchError> {
    if sound { Ok(()) } else { Err(PatchError::new(what)) }
}
