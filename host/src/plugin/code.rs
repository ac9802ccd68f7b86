//! A component ready to be run: compiled, linked, its exports found.

use std::path::Path;

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::api::v1::{self, lifecycle, message_filter, webhook_transform};
use super::refusal::Refusal;
use super::state::State;
use crate::model::Hook;

/// A linked component. Made once for all versions and bindings that share it.
pub(super) struct Code {
    pub(super) instance: InstancePre<State>,
    pub(super) lifecycle: lifecycle::GuestIndices,
    pub(super) filter: Option<message_filter::GuestIndices>,
    pub(super) transform: Option<webhook_transform::GuestIndices>,
}

/// Everything a component may import: the capabilities, which ask for grants by themselves, and WASI with nothing behind.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    v1::FullPlugin::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}

impl Code {
    /// Loads compiled code; an error when the file is not of this engine.
    pub(super) fn load(engine: &wasmtime::Engine, file: &Path) -> wasmtime::Result<Component> {
        // SAFETY: the file was written by our own compiler process into a folder that only this user can write to, and
        // its digest was just checked (`compile::Cache`); nothing uploaded ever gets there.
        #[expect(unsafe_code, reason = "loading compiled code means trusting it")]
        unsafe {
            Component::deserialize_file(engine, file)
        }
    }

    /// Links a component against what the gateway offers.
    pub(super) fn link(linker: &Linker<State>, component: &Component) -> Result<Self, Refusal> {
        let unfit = |error: wasmtime::Error| Refusal::Unfit(causes(&error));
        let instance = linker.instantiate_pre(component).map_err(unfit)?;
        let lifecycle = lifecycle::GuestIndices::new(&instance).map_err(unfit)?;
        let filter = message_filter::GuestIndices::new(&instance).ok();
        let transform = webhook_transform::GuestIndices::new(&instance).ok();
        Ok(Self { instance, lifecycle, filter, transform })
    }

    /// Whether it has these hooks' functions, and not only their names.
    pub(super) fn offers(&self, hooks: &[Hook]) -> Result<(), Refusal> {
        let lacks = |hook: &&Hook| match hook {
            Hook::MessageFilter => self.filter.is_none(),
            Hook::WebhookTransform => self.transform.is_none(),
        };
        match hooks.iter().find(lacks) {
            Some(hook) => Err(Refusal::Unfit(format!("{} lacks its function", hook.name()))),
            None => Ok(()),
        }
    }
}

/// An error with what it came from, on one line.
pub(super) fn causes(error: &wasmtime::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ").replace('\n', " ")
}
