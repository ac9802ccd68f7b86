//! The command line as clap sees it, and the flags it takes from the list of settings.

use clap::CommandFactory;

use super::*;
use crate::config::settings;

fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once(&"wagate").chain(arguments))
}

#[test]
fn the_command_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn takes_a_setting_before_and_after_the_command() {
    for arguments in [["--port", "9", "serve"], ["serve", "--port", "9"]] {
        let flags = parse(&arguments).unwrap().flags.into_values();
        assert_eq!(flags.get("http.port").map(String::as_str), Some("9"), "{arguments:?}");
        assert_eq!(flags.len(), 1, "what is not given is no flag");
    }
    let deep = parse(&["user", "list", "--data-dir", "/tmp/x", "--config", "g.toml"]).unwrap();
    assert_eq!(deep.config, Some(PathBuf::from("g.toml")));
    assert_eq!(deep.flags.into_values().get("data_dir").map(String::as_str), Some("/tmp/x"));
}

#[test]
fn every_setting_has_a_flag_unless_it_is_a_secret() {
    let command = Cli::command();
    for setting in settings() {
        let flag = command.get_arguments().any(|argument| argument.get_id() == setting.key);
        assert_eq!(flag, !setting.secret, "{}", setting.key);
    }
    assert!(parse(&["serve", "--jwt-secret", "x"]).is_err());
}

#[test]
fn refuses_ids_and_numbers_that_cannot_be() {
    assert!(parse(&["session", "pair", "../x"]).is_err());
    assert!(parse(&["session", "pair", "sales", "--phone", "abc"]).is_err());
    assert!(parse(&["session", "pair", "sales", "--phone", "+62 813-8139-3739"]).is_ok());
}

#[test]
fn tells_a_chain_of_causes_once() {
    let quoted = anyhow::anyhow!("disk full").context("cannot write the file: disk full").context("the start failed");
    assert_eq!(told(&quoted), "the start failed: cannot write the file: disk full");
}
