//! The limit: the component called through the engine alone, set up as the gateway sets it up, with capabilities that do
//! nothing.

use std::num::NonZeroUsize;

use anyhow::{Error, Result, ensure};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreLimits,
    StoreLimitsBuilder, WasmBacktraceDetails,
};

wasmtime::component::bindgen!({
    path: "../../../wit/v1",
    world: "message-plugin",
    exports: { default: async },
});

use self::wagate::plugin::{config, http, kv, log, outbox, types};

/// The component, ready to be called.
pub(crate) struct Bare {
    engine: Engine,
    plugin: MessagePluginPre<State>,
}

struct State {
    limits: StoreLimits,
}

impl Bare {
    pub(crate) fn new(component: &[u8]) -> Result<Self> {
        let engine = Engine::new(&settings()).map_err(plain)?;
        let mut linker = Linker::new(&engine);
        MessagePlugin::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state).map_err(plain)?;
        let component = Component::new(&engine, component).map_err(plain)?;
        let plugin = linker.instantiate_pre(&component).and_then(MessagePluginPre::new).map_err(plain)?;
        Ok(Self { engine, plugin })
    }

    pub(crate) async fn fresh(&self) -> Result<f64> {
        crate::median(async || {
            let (mut store, instance) = self.instance().await?;
            call(&mut store, &instance).await
        })
        .await
    }

    pub(crate) async fn warm(&self) -> Result<f64> {
        let (mut store, instance) = self.instance().await?;
        crate::median(async || call(&mut store, &instance).await).await
    }

    async fn instance(&self) -> Result<(Store<State>, MessagePlugin)> {
        let limits = StoreLimitsBuilder::new().memory_size(64 << 20).build();
        let mut store = Store::new(&self.engine, State { limits });
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1 << 40);
        let instance = self.plugin.instantiate_async(&mut store).await.map_err(plain)?;
        let ready = instance.wagate_plugin_lifecycle().call_init(&mut store).await.map_err(plain)?;
        ensure!(ready.is_ok(), "init refused: {ready:?}");
        Ok((store, instance))
    }
}

/// The gateway's settings (host/src/plugin/engine.rs), with the slots of its default configuration.
fn settings() -> Config {
    const INSTANCES: u32 = 64 + 64 + 16;
    let mut slots = PoolingAllocationConfig::new();
    slots
        .total_component_instances(INSTANCES)
        .total_stacks(INSTANCES)
        .total_memories(INSTANCES * 2)
        .total_tables(INSTANCES * 4)
        .total_core_instances(INSTANCES * 64)
        .max_core_instances_per_component(64)
        .max_memories_per_component(4)
        .max_tables_per_component(64)
        .table_elements(20_000)
        .max_memory_size(64 << 20)
        .max_core_instance_size(1 << 20)
        .max_component_instance_size(4 << 20)
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut settings = Config::new();
    settings
        .wasm_memory64(false)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .memory_may_move(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(slots));
    settings
}

async fn call(store: &mut Store<State>, instance: &MessagePlugin) -> Result<()> {
    let context = types::CallContext {
        call_id: "call_1".to_owned(),
        plugin_id: "plg_1".to_owned(),
        attempt: 1,
        now: 1_643_723_401_000,
        deadline_ms: 2_000,
        dry_run: false,
    };
    let message = types::Message {
        id: "3EB0BEDDE45EF384377BD7".to_owned(),
        event_id: "evt_0198".to_owned(),
        session: "ses_0198".to_owned(),
        chat: "6281381393739@s.whatsapp.net".to_owned(),
        sender: "6281381393739@s.whatsapp.net".to_owned(),
        sender_alt: None,
        sender_name: Some("Somebody".to_owned()),
        direction: types::Direction::Incoming,
        is_group: false,
        backfill: false,
        sent_at: 1_643_723_400_000,
        content: types::Content::Text(types::TextContent { body: crate::text() }),
        labels: Vec::new(),
    };
    let verdict =
        instance.wagate_plugin_message_filter().call_on_message(store, &context, &message).await.map_err(plain)?;
    ensure!(
        matches!(verdict, Ok(exports::wagate::plugin::message_filter::Verdict::Modify(_))),
        "the router said {verdict:?}"
    );
    Ok(())
}

impl types::Host for State {}

impl log::Host for State {
    fn log(&mut self, _: log::Level, _: String, _: Vec<types::Pair>) {}
}

impl config::Host for State {
    fn get(&mut self, _: String) -> Option<String> {
        None
    }

    fn get_json(&mut self) -> String {
        crate::CONFIG.to_owned()
    }
}

impl kv::Host for State {
    fn get(&mut self, _: String) -> Result<Option<Vec<u8>>, kv::Error> {
        Ok(None)
    }

    fn set(&mut self, _: String, _: Vec<u8>, _: Option<u64>) -> Result<(), kv::Error> {
        Ok(())
    }

    fn delete(&mut self, _: String) -> Result<(), kv::Error> {
        Ok(())
    }

    fn increment(&mut self, _: String, delta: i64, _: Option<u64>) -> Result<i64, kv::Error> {
        Ok(delta)
    }

    fn compare_and_set(&mut self, _: String, _: Option<Vec<u8>>, _: Vec<u8>) -> Result<(), kv::Error> {
        Ok(())
    }
}

impl http::Host for State {
    fn send(&mut self, _: http::Request) -> Result<http::Response, http::Error> {
        Err(http::Error::BudgetExhausted)
    }
}

impl outbox::Host for State {
    fn reply(&mut self, _: outbox::Draft) -> Result<String, outbox::Error> {
        Ok(String::new())
    }

    fn send(&mut self, _: String, _: outbox::Draft) -> Result<String, outbox::Error> {
        Ok(String::new())
    }

    fn emit_event(&mut self, _: String, _: String) -> Result<(), outbox::Error> {
        Ok(())
    }
}

/// The engine's error is none of the standard library's.
fn plain(error: wasmtime::Error) -> Error {
    Error::msg(format!("{error:#}"))
}
