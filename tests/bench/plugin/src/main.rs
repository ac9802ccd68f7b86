//! What a call of a plugin costs: the gateway's way beside a bare call of the same component through the engine, which
//! is the limit, and beside the extism crate doing the same work.
//!
//! The work: a message of some 300 characters goes in, is looked through for keywords, and comes back with a route and a
//! label. Each figure is the median of calls one after the other on one thread, in microseconds. `fresh` makes and drops
//! an instance a call, `warm` keeps one.

mod bare;
mod ours;
mod peer;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use wagate::cli::Cli;
use wagate::model::Reuse;

use self::ours::Ours;

/// The gateway's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Calls before counting, and calls counted.
const WARM_UP: usize = 2_000;
const CALLS: usize = 20_000;

/// The text every call looks through; the keyword stands at its end.
pub(crate) fn text() -> String {
    format!("{} please send the invoice", "Lorem ipsum dolor sit amet, consectetur. ".repeat(7))
}

/// The plugins' configuration.
pub(crate) const CONFIG: &str = r#"{"routes":[{"words":["order","delivery"],"endpoints":["sales"]},{"words":["invoice","refund"],"endpoints":["billing"]}]}"#;

/// The same work as a script.
pub(crate) const SCRIPT: &str = r"
const routes = [{ words: ['order', 'delivery'], endpoints: ['sales'] }, { words: ['invoice', 'refund'], endpoints: ['billing'] }];
function onMessage(message) {
    const words = message.text.toLowerCase().split(/[^a-z]+/);
    for (const route of routes) {
        const found = route.words.find(word => words.includes(word));
        if (found) return { routeTo: route.endpoints, labels: { route: found } };
    }
}";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let argument = std::env::args().nth(1).context("name the peer's module")?;
    if argument == "plugin-compiler" {
        // The gateway compiles in a process of its own program, which is this one here.
        return wagate::cli::run(Cli::parse()).await;
    }
    let peer = read(Path::new(&argument))?;
    let dist = root().join("plugins/dist");
    let router = read(&dist.join("keyword-router.wasm"))?;
    let bare = bare::Bare::new(&router)?;
    figure("plugin.bare.fresh_us", bare.fresh().await?);
    figure("plugin.bare.warm_us", bare.warm().await?);
    let ours = Ours::start().await?;
    let fresh = ours.chain("fresh", &router, None, CONFIG, Reuse::Fresh).await?;
    figure("plugin.rust.fresh_us", ours.calls(&fresh).await?);
    let warm = ours.chain("warm", &router, None, CONFIG, Reuse::Warm).await?;
    figure("plugin.rust.warm_us", ours.calls(&warm).await?);
    let script = read(&dist.join("script.wasm"))?;
    let script = ours.chain("script", &script, Some(SCRIPT), "{}", Reuse::Warm).await?;
    figure("plugin.script.warm_us", ours.calls(&script).await?);
    ours.stop().await;
    figure("plugin.extism.warm_us", peer::warm(&peer)?);
    Ok(())
}

/// Times calls of an asynchronous function and answers the median in microseconds.
pub(crate) async fn median(mut call: impl AsyncFnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..WARM_UP {
        call().await?;
    }
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let began = Instant::now();
        call().await?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times[CALLS / 2].as_secs_f64() * 1e6)
}

fn figure(name: &str, us: f64) {
    println!("{name}\t{us:.2}\tus");
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} cannot be read; run make plugins", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}
