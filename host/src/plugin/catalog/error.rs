//! Why the catalog did not do what was asked, in words for whoever asked.

use super::{LONGEST_CHAIN, MOST};
use crate::model::BindingId;
use crate::plugin::Refusal;
use crate::plugin::masking::NothingBehind;
use crate::store::StoreError;

/// Why the catalog did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Nothing visible has this id.
    #[error("no {0} with this id")]
    Missing(&'static str),
    /// The plugin has no such version.
    #[error("the plugin has no version {0}")]
    NoVersion(u32),
    /// The name cannot be one.
    #[error("name: a plugin's name has 1 to 64 characters from A-Z a-z 0-9 . _ -")]
    Name,
    /// The owner has a plugin of this name.
    #[error("you have a plugin called {0}; choose another name, or add a version to that one")]
    NameTaken(String),
    /// There are as many as there may be.
    #[error("there are {MOST} {0} already, which is the limit; remove some first")]
    Full(&'static str),
    /// The chain is as long as it may be.
    #[error(
        "{LONGEST_CHAIN} bindings are in force on that session already, which is the limit; remove or disable some first"
    )]
    Crowded,
    /// The configuration cannot be one.
    #[error("{0}")]
    Config(String),
    /// A masked value stands for nothing.
    #[error(transparent)]
    Masked(#[from] NothingBehind),
    /// A limit lies outside what the gateway allows.
    #[error("limits.{name} is {value}; it can be {lowest} to {highest}")]
    Limits {
        /// The limit.
        name: &'static str,
        /// What was asked for.
        value: u32,
        /// The least there can be.
        lowest: u32,
        /// The most there can be.
        highest: u32,
    },
    /// The user has a replay under way.
    #[error("a replay of yours is under way; wait for its end")]
    Replaying,
    /// The component or a configuration was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The version does not start under a binding that is in force.
    #[error(
        "version {version} does not start under the binding {binding}: {refusal}; change or disable the binding first"
    )]
    Unfit {
        /// The version.
        version: u32,
        /// The binding.
        binding: BindingId,
        /// What was said against it.
        refusal: Refusal,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
