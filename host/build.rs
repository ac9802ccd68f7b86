//! Tells cargo what the crate embeds beside its own sources.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
