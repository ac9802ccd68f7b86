//! What a call of a plugin costs: the gateway's way beside a bare call of the same component through the engine, which
//! is the limit, and beside the extism crate doing the same work.
//!
//! The work: a message of some 300 characters goes in, is looked through for keywords, and comes back with a route and a
//! label. `fresh` makes and drops an instance a call, `warm` keeps one. They are called one after the other on one thread,
//! all in turn and that several times over; each figure is the least of its medians, in microseconds, because a machine
//! shared with others is at times slower and never faster than it is.

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
use self::peer::Peer;

/// The gateway's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Rounds, and in each of them calls before counting and calls counted.
const ROUNDS: usize = 7;
const WARM_UP: usize = 500;
const CALLS: usize = 5_000;

/// The text every call looks through; the keyword stands at its end.
pub(crate) fn text() -> String {
    format!("{} please send the invoice", "Lorem ipsum dolor sit amet, consectetur. ".repeat(7))
}

/// The plugins' configuration.
pub(crate) const CONFIG: &str = r#"{"routes":[{"words":["order","delivery"],"endpoints":["sales"]},{"words":["invoice","refund"],"endpoints":["billing"]}]}"#;

/// The same work as a script: whole words in any case.
const SCRIPT: &str = r"
const endpoints = { order: 'sales', delivery: 'sales', invoice: 'billing', refund: 'billing' };
const inWord = (char) => char !== undefined && /\w/.test(char);
function has(text, word) {
    for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
        if (!inWord(text[at - 1]) && !inWord(text[at + word.length])) return true;
    }
    return false;
}
function onMessage({ text }) {
    const small = text.toLowerCase();
    for (const word in endpoints) {
        if (has(small, word)) return { routeTo: [endpoints[word]], labels: { route: word } };
    }
}";

/// The same again by a regular expression, which the script engine interprets letter by letter.
const REGEX: &str = r"
const endpoints = { order: 'sales', delivery: 'sales', invoice: 'billing', refund: 'billing' };
function onMessage({ text }) {
    const [, word] = /\b(order|delivery|invoice|refund)\b/.exec(text.toLowerCase()) ?? [];
    if (word) return { routeTo: [endpoints[word]], labels: { route: word } };
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
    let script = read(&dist.join("script.wasm"))?;
    let (bare, ours, mut peer) = (bare::Bare::new(&router)?, Ours::start().await?, Peer::new(&peer)?);
    let fresh = ours.chain("fresh", &router, None, CONFIG, Reuse::Fresh).await?;
    let warm = ours.chain("warm", &router, None, CONFIG, Reuse::Warm).await?;
    let regex = ours.chain("regex", &script, Some(REGEX), "{}", Reuse::Warm).await?;
    let script = ours.chain("script", &script, Some(SCRIPT), "{}", Reuse::Warm).await?;
    let mut least = [f64::INFINITY; 7];
    for _ in 0..ROUNDS {
        let medians = [
            bare.fresh().await?,
            bare.warm().await?,
            ours.calls(&fresh).await?,
            ours.calls(&warm).await?,
            ours.calls(&script).await?,
            ours.calls(&regex).await?,
            median(async || peer.call()).await?,
        ];
        least.iter_mut().zip(medians).for_each(|(least, median)| *least = least.min(median));
    }
    ours.stop().await;
    let names = ["bare.fresh", "bare.warm", "rust.fresh", "rust.warm", "script.warm", "script.regex", "extism.warm"];
    for (name, us) in names.iter().zip(least) {
        println!("plugin.{name}_us\t{us:.2}\tus");
    }
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

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} cannot be read; run make plugins", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}
