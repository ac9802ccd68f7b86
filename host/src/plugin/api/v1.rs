//! `wagate:plugin@1`, generated from `wit/v1`. The capabilities are implemented in [`crate::plugin::capability`].

wasmtime::component::bindgen!({
    path: "../wit/v1",
    world: "full-plugin",
    imports: { "wagate:plugin/kv": async, "wagate:plugin/http": async },
    exports: { default: async },
});

pub(in crate::plugin) use self::wagate::plugin::{config, http, kv, log, outbox, types};
pub(in crate::plugin) use exports::wagate::plugin::{lifecycle, message_filter, webhook_transform};
