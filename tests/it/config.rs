//! Settings as a user meets them: the example file and the README say what the program does.

use std::path::Path;

use wagate::config::{Config, Sources, example, settings};

fn committed(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(path)).unwrap()
}

#[test]
fn the_example_file_is_the_one_the_program_writes() {
    assert_eq!(committed("examples/gateway.toml"), example(), "run: wagate config example > examples/gateway.toml");
}

#[test]
fn the_example_file_is_accepted_as_it_stands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sources = Sources { file: Some(root.join("examples/gateway.toml")), ..Sources::default() };
    sources.set("whatsapp.url", "ws://127.0.0.1:9/");
    assert_eq!(Config::load(&sources).unwrap().http.port, 8080);
}

#[test]
fn the_readme_names_every_setting() {
    let readme = committed("README.md");
    for setting in settings() {
        assert!(readme.contains(&format!("`{}`", setting.env)), "{} is missing in README.md", setting.env);
    }
}
