//! A component's first calls: it describes itself, and it reads a configuration, before anything depends on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::api::v1::lifecycle::PluginInfo;
use super::call::Fault;
use super::capability::log::cut;
use super::code::Code;
use super::compile::hex;
use super::inspect::{Looks, look};
use super::link::Link;
use super::machine::Machine;
use super::refusal::Refusal;
use super::state::{Call, Place, Settings};
use crate::model::{BindingId, Bound, FailurePolicy, Grants, Limits, PluginId, Report};

/// Longest description that is kept, in bytes.
const LONGEST_DESCRIPTION: usize = 1_000;
const LONGEST_VERSION: usize = 64;
/// Grants a plugin may wish for.
const WISHES: usize = 64;
const LONGEST_WISH: usize = 300;
/// Longest script.
const LONGEST_SCRIPT: usize = 256 << 10;

/// Reads, compiles and questions a component.
pub(super) async fn inspect(
    machine: &Machine,
    bytes: &[u8],
    script: Option<&str>,
    limit: usize,
) -> Result<Report, Refusal> {
    let Looks { hooks, contract, imports, exports, reuse } = look(bytes, limit)?;
    let sha256 = hex(&Sha256::digest(bytes));
    let (code, took) = machine.compile(&sha256, bytes).await?;
    code.offers(&hooks)?;
    let ticking = machine.engine.ticker.busy();
    let running = machine.running(stranger(machine, Settings::default()));
    let info = running
        .describe(&machine.lane, Arc::clone(&code))
        .await
        .map_err(|fault| Refusal::Describe(fault.to_string()))?;
    let PluginInfo { name, version, description, wants } = sound(info)?;
    if let Some(script) = script {
        try_script(machine, code, script).await?;
    }
    drop(ticking);
    let compile_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let size = bytes.len() as u64;
    Ok(Report { name, version, description, wants, hooks, contract, imports, exports, size, sha256, reuse, compile_ms })
}

/// Lets the script's component read it.
async fn try_script(machine: &Machine, code: Arc<Code>, script: &str) -> Result<(), Refusal> {
    if script.len() > LONGEST_SCRIPT {
        return Err(Refusal::Config(format!("the script has {} bytes, the limit is {LONGEST_SCRIPT}", script.len())));
    }
    let settings = Settings::read(&"{}".into(), Some(script)).unwrap_or_default();
    machine.running(stranger(machine, settings)).init(&machine.lane, code).await.map_err(refusal)
}

/// Lets an installed plugin read its configuration.
pub(super) async fn try_init(machine: &Machine, bound: &Bound) -> Result<(), Refusal> {
    let link = Link::new(bound, 1, None, machine.outside.clock.now());
    let code = link.code(machine).await.map_err(refusal)?;
    let _ticking = machine.engine.ticker.busy();
    let deadline = Instant::now() + link.wall();
    let mut call = Call::idle(Arc::clone(&link.place), Arc::clone(&machine.outside), deadline);
    call.rehearsal = true;
    machine.running(call).init(&machine.lane, code).await.map_err(refusal)
}

fn refusal(fault: Fault) -> Refusal {
    match fault {
        Fault::Config(why) => Refusal::Config(why),
        Fault::Unavailable(why) => Refusal::Unavailable(why),
        other => Refusal::Init(other.to_string()),
    }
}

/// A call of a component that nobody has installed: nothing is granted, nothing is kept.
fn stranger(machine: &Machine, settings: Settings) -> Call {
    let limits = Limits::default();
    let place = Place {
        plugin: PluginId::new(),
        name: String::new(),
        version: 0,
        binding: BindingId::new(),
        grants: Grants::default(),
        limits,
        policy: FailurePolicy::Open,
        settings,
    };
    let deadline = Instant::now() + Duration::from_millis(limits.wall_ms.into());
    let mut call = Call::idle(Arc::new(place), Arc::clone(&machine.outside), deadline);
    call.rehearsal = true;
    call
}

/// What the plugin says about itself, when it keeps the contract.
fn sound(info: PluginInfo) -> Result<PluginInfo, Refusal> {
    let PluginInfo { name, version, description, wants } = info;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) {
        return Err(Refusal::Describe("its name is 1 to 64 of a-z 0-9 -".to_owned()));
    }
    if !(1..=LONGEST_VERSION).contains(&version.len()) || version.chars().any(char::is_control) {
        return Err(Refusal::Describe("its version is 1 to 64 printable characters, for example 1.0.0".to_owned()));
    }
    if wants.len() > WISHES || wants.iter().any(|word| word.len() > LONGEST_WISH) {
        let limits = format!("it wants more than {WISHES} grants, or one of more than {LONGEST_WISH} bytes");
        return Err(Refusal::Describe(limits));
    }
    Grants::parse(&wants).map_err(|error| Refusal::Describe(error.to_string()))?;
    Ok(PluginInfo { name, version, description: cut(description, LONGEST_DESCRIPTION), wants })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, version: &str, wants: &[&str]) -> Result<PluginInfo, Refusal> {
        let wants = wants.iter().map(|word| (*word).to_owned()).collect();
        sound(PluginInfo { name: name.to_owned(), version: version.to_owned(), description: "x".repeat(5_000), wants })
    }

    #[test]
    fn takes_a_sound_description() {
        let info = info("keyword-router", "1.0.0", &["kv", "http:api.example.org"]).unwrap();
        assert!(info.description.len() <= LONGEST_DESCRIPTION);
    }

    #[test]
    fn refuses_names_and_wishes_that_cannot_be() {
        for (name, version, wants) in [
            ("", "1", &[][..]),
            ("Router", "1", &[]),
            ("a", "", &[]),
            ("a", "1\n", &[]),
            ("a", "1", &["shell"]),
            ("a", "1", &["kv"; 65]),
        ] {
            assert!(matches!(info(name, version, wants), Err(Refusal::Describe(_))), "{name:?} {version:?}");
        }
    }
}
