//! The borders of the house, read off its files: which room may name which, which library lives where, what no file
//! may hold. A rule that a compiler cannot keep is kept here or nowhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rooms and what each may name, a whole room or one module of it, from the table in `host/README.md`. `app::tasks`,
/// `config` and `model` come on top for every room but those two; an empty list is a room that names nothing else.
const BORDERS: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("model", &[]),
    ("http", &["outbound", "inbound", "session", "webhook", "plugin", "auth", "egress", "live", "store"]),
    ("auth", &["store"]),
    ("whatsapp", &["store", "egress"]),
    ("session", &["whatsapp", "store"]),
    ("inbound", &["plugin", "store"]),
    ("outbound", &["plugin", "session", "whatsapp", "store", "egress"]),
    ("plugin", &["store", "egress"]),
    ("webhook", &["egress", "store"]),
    ("egress", &[]),
    ("live", &["store"]),
    ("media", &["store"]),
    ("telemetry", &["store"]),
    ("store", &[]),
];
/// Rooms that may name everything.
const OPEN_ROOMS: &[&str] = &["main", "lib", "app", "cli"];

/// A word, and the only places under `host/src` that may hold it.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("whatsapp_rust", &["whatsapp.rs", "whatsapp/"]),
    ("wacore", &["whatsapp.rs", "whatsapp/"]),
    ("waproto", &["whatsapp.rs", "whatsapp/"]),
    ("wasmtime", &["plugin.rs", "plugin/"]),
    ("reqwest::", &["egress.rs", "egress/", "cli/gateway.rs"]),
    ("tokio::spawn", &["app/tasks.rs"]),
    ("tokio::task::spawn(", &["app/tasks.rs"]),
    ("async_nats", &["egress/nats.rs"]),
    ("env::var", &["config/source.rs"]),
    ("SystemTime::now", &["model/time.rs"]),
    ("stdout()", &["cli/say.rs"]),
    ("println!", &[]),
    ("anyhow::", &["cli.rs", "cli/", "main.rs", "whatsapp/"]),
    ("sqlx::query", &["store.rs", "store/"]),
    ("sqlx::Pool", &["store.rs", "store/"]),
    ("sqlx::sqlite", &["store.rs", "store/"]),
    ("sqlx::postgres", &["store.rs", "store/"]),
    ("sqlx::mysql", &["store.rs", "store/"]),
    ("QueryBuilder", &["store.rs", "store/"]),
    ("SELECT ", &["store.rs", "store/"]),
    ("INSERT INTO", &["store.rs", "store/"]),
    ("DELETE FROM", &["store.rs", "store/"]),
];

/// Words no source of ours holds. Spelled in halves, because this file is one of them.
const NOWHERE: &[&str] = &[
    concat!("#[", "allow"),
    concat!("#![", "allow"),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("dbg", "!("),
];

/// What no committed file holds: a path of some machine, a host of some package registry.
const OF_A_MACHINE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("crates", ".io"),
    concat!("npmjs", ".org"),
    concat!("pypi", ".org"),
    concat!("debian", ".org"),
];

/// Files that are somebody else's text: cargo's, and the user's own guide, which shows a Dockerfile.
const NOT_OURS: &[&str] = &[
    "Cargo.lock",
    "plugins/Cargo.lock",
    "plugins/dist/script.wasm",
    "plugins/keyword-router/js/package-lock.json",
    "plugins/script/package-lock.json",
    "tests/bench/plugin/Cargo.lock",
    "tests/bench/plugin/peer/Cargo.lock",
    "tests/fixtures/founding-guide.md",
];

/// The top of the house, besides dot files.
const TOP: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "api-docs.yaml",
    "examples",
    "frontend",
    "host",
    "migrations",
    "plugins",
    "tests",
    "wit",
];

const LONGEST_FILE: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file that is committed or would be, by its path from the top.
fn committed() -> Vec<String> {
    let listing = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(listing.status.success(), "{}", String::from_utf8_lossy(&listing.stderr));
    let text = String::from_utf8(listing.stdout).unwrap();
    text.lines().filter(|path| root().join(path).is_file()).map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(root().join(path)).unwrap()).into_owned()
}

/// Our Rust files, by path from the top.
fn sources() -> Vec<(String, String)> {
    let ours = |path: &String| {
        Path::new(path).extension().is_some_and(|extension| extension == "rs")
            && (path.starts_with("host/") || path.starts_with("tests/"))
    };
    committed().into_iter().filter(ours).map(|path| (path.clone(), read(&path))).collect()
}

/// The product's files, by path from `host/src`, without comments and without what only tests compile.
fn product() -> Vec<(String, String)> {
    let inside = |(path, text): (String, String)| Some((path.strip_prefix("host/src/")?.to_owned(), text));
    let files = sources().into_iter().filter_map(inside).filter(|(path, _)| !path.ends_with("tests.rs"));
    files.map(|(path, text)| (path, code(&text))).collect()
}

fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let spoken = |line: &&str| !line.trim_start().starts_with("//");
    product.lines().filter(spoken).map(|line| line.split(" // ").next().unwrap_or(line).to_owned() + "\n").collect()
}

/// The room a file under `host/src` stands in.
fn room(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// What a text names of its own crate: `crate::a::b` as `a::b`, groups taken apart.
fn named(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for after in text.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(group) => found.extend(members(group).iter().map(|member| path_of(member))),
            None => {
                found.insert(path_of(after));
            }
        }
    }
    found
}

/// The parts of `a::{b, c}, d}…` up to the bracket that closes the group, parted at its own commas only.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

fn path_of(text: &str) -> String {
    text.trim().chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect()
}

fn complain(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn reads_imports_as_a_compiler_would() {
    let text =
        "use crate::model::{A, B};\nuse crate::{store::{x, y}, app::tasks::Tasks};\nlet a = crate::egress::new();";
    let expected = ["app::tasks::Tasks", "egress::new", "model::", "store::"].map(str::to_owned);
    assert_eq!(named(text), BTreeSet::from(expected));
}

#[test]
fn a_room_names_only_the_rooms_it_may() {
    let mut faults = Vec::new();
    for (path, text) in product() {
        let room = room(&path);
        if OPEN_ROOMS.contains(&room) {
            continue;
        }
        let Some((_, allowed)) = BORDERS.iter().find(|(known, _)| *known == room) else {
            faults.push(format!("host/src/{path}: the table of borders has no room {room}"));
            continue;
        };
        for name in named(&text) {
            let target = name.split("::").next().unwrap_or_default();
            let common = match room {
                "model" => false,
                "config" => target == "model",
                _ => matches!(target, "config" | "model") || name.starts_with("app::tasks"),
            };
            let permitted = |border: &&str| name == **border || name.starts_with(&format!("{border}::"));
            if target != room && !common && !allowed.iter().any(permitted) {
                faults.push(format!("host/src/{path}: the room {room} may not name crate::{name}"));
            }
        }
    }
    complain(&faults);
}

#[test]
fn a_library_stays_in_its_room() {
    let mut faults = Vec::new();
    for (path, text) in product() {
        for (word, places) in ONLY_IN {
            if text.contains(word) && !places.iter().any(|place| path.starts_with(place)) {
                faults.push(format!("host/src/{path}: holds {word:?}, which belongs to {places:?}"));
            }
        }
        let derives = text.replace("sqlx::Type", "").replace("#[sqlx(", "");
        if derives.contains("sqlx") && !path.starts_with("store") {
            faults.push(format!("host/src/{path}: names sqlx for more than a derive"));
        }
    }
    complain(&faults);
}

/// Two types of one name would be one schema in the API's description, and one of them would be described wrongly.
#[test]
fn every_schema_has_a_name_of_its_own() {
    let (mut seen, mut faults) = (BTreeSet::new(), Vec::new());
    for (path, text) in product() {
        for declared in text.split("ToSchema)]").skip(1) {
            let Some((attributes, rest)) = declared.split_once("\npub") else { continue };
            let renamed = attributes.split_once("schema(as = ").map(|(_, rest)| rest);
            let named = rest.split_once("struct ").or_else(|| rest.split_once("enum ")).map(|(_, rest)| rest);
            let name = renamed.or(named).unwrap_or_default();
            let name: String = name.chars().take_while(|c| c.is_alphanumeric()).collect();
            if !name.is_empty() && !seen.insert(name.clone()) {
                faults.push(format!("{path}: the schema {name} is there already"));
            }
        }
    }
    assert!(seen.len() > 50, "{seen:?}");
    complain(&faults);
}

#[test]
fn no_source_holds_what_was_left_for_later() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for (at, line) in text.lines().enumerate() {
            let held = NOWHERE.iter().filter(|word| line.contains(*word));
            faults.extend(held.map(|word| format!("{path}:{}: {word}", at + 1)));
        }
    }
    complain(&faults);
}

#[test]
fn files_stay_short_and_are_named_after_their_module() {
    let long = |(path, text): &(String, String)| {
        let lines = text.lines().count();
        (lines > LONGEST_FILE).then(|| format!("{path}: {lines} lines, the cap is {LONGEST_FILE}"))
    };
    let unnamed = |(path, _): &(String, String)| {
        path.ends_with("/mod.rs").then(|| format!("{path}: call it after its module, beside the folder"))
    };
    let sources = sources();
    complain(&sources.iter().filter_map(long).chain(sources.iter().filter_map(unnamed)).collect::<Vec<_>>());
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let bare = |(path, text): (String, String)| {
        let head = text.trim_start();
        let explained = head.starts_with("//!") || head.starts_with("#![doc") || path.ends_with("/tests.rs");
        (!explained).then(|| format!("{path}: has no header"))
    };
    complain(&sources().into_iter().filter_map(bare).collect::<Vec<_>>());
}

#[test]
fn the_top_of_the_house_is_fixed() {
    let top = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let strange = |name: &String| !name.starts_with('.') && !TOP.contains(&name.as_str());
    let names: BTreeSet<String> = committed().iter().map(top).collect();
    complain(
        &names.into_iter().filter(strange).map(|name| format!("{name}: no such name at the top")).collect::<Vec<_>>(),
    );
}

#[test]
fn no_committed_file_names_a_machine_or_a_registry() {
    let mut faults = Vec::new();
    for path in committed().iter().filter(|path| !NOT_OURS.contains(&path.as_str())) {
        let text = read(path);
        for (at, line) in text.lines().enumerate() {
            let held = OF_A_MACHINE.iter().filter(|word| line.contains(*word));
            faults.extend(held.map(|word| format!("{path}:{}: {word}", at + 1)));
        }
    }
    complain(&faults);
}

#[test]
fn the_licence_is_the_one_the_manifests_name() {
    let licence = read("LICENSE");
    assert!(licence.contains("GNU AFFERO GENERAL PUBLIC LICENSE") && licence.contains("Version 3, 19 November 2007"));
    assert!(licence.lines().count() > 500, "the whole text, not a notice");
    assert!(read("Cargo.toml").contains("license = \"AGPL-3.0-only\""));
    let manifests = ["host/Cargo.toml", "tests/Cargo.toml", "tests/simulator/Cargo.toml"];
    complain(
        &manifests
            .iter()
            .filter(|path| !read(path).contains("license.workspace = true"))
            .map(|path| format!("{path}: takes its licence from elsewhere"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_engine_has_the_same_migrations() {
    let mut engines = std::collections::BTreeMap::<String, BTreeSet<String>>::new();
    for path in committed() {
        if let Some((engine, name)) = path.strip_prefix("migrations/").and_then(|rest| rest.split_once('/')) {
            engines.entry(engine.to_owned()).or_default().insert(name.to_owned());
        }
    }
    let first = engines.values().next().expect("at least one engine has migrations").clone();
    for (engine, names) in engines {
        assert!(["sqlite", "postgres", "mysql"].contains(&engine.as_str()), "{engine} is no engine");
        assert_eq!(names, first, "{engine}");
    }
}

/// The packages of a build with their features, one a line, as cargo resolves them.
fn packages(features: &[&str]) -> String {
    let answer = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "-p", "wagate", "-e", "normal,build", "--prefix", "none", "--format", "{p} [{f}]"])
        .args(features)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8(answer.stdout).unwrap()
}

#[test]
fn a_product_build_trusts_whatsapps_certificates_only_and_holds_no_simulator() {
    let (danger, simulator) = ("danger-", "wagate-simulator");
    let demo = packages(&["--features", "demo"]);
    assert!(demo.contains(danger) && demo.contains(simulator), "the listing shows what it is asked about: {demo}");
    let product = packages(&[]);
    assert!(product.contains("whatsapp-rust"));
    assert!(!product.contains(danger), "a feature that skips a check");
    assert!(!product.contains(simulator));
}
