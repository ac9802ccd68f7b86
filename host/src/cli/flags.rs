//! One flag a setting, made from the list of settings, so that the two cannot differ.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Command, Error};

use crate::config::{Setting, settings};

/// The settings given as flags: key to text.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingFlags(BTreeMap<String, String>);

impl SettingFlags {
    pub(super) fn into_values(self) -> BTreeMap<String, String> {
        self.0
    }
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        settings().filter_map(argument).fold(command, Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let given = |setting: &Setting| matches.get_one::<String>(setting.key).cloned();
        let plain = settings().filter(|setting| !setting.secret);
        self.0.extend(plain.filter_map(|setting| Some((setting.key.to_owned(), given(setting)?))));
        Ok(())
    }
}

/// The flag of a setting; none for a secret, which every user of the machine could read in the list of processes.
fn argument(setting: &'static Setting) -> Option<Arg> {
    let default = setting.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
    let argument = Arg::new(setting.key)
        .long(setting.flag()?)
        .global(true)
        .value_name("VALUE")
        .help_heading("Settings")
        .help(format!("{} {}{default}", setting.doc, setting.env))
        .hide_short_help(!matches!(setting.env, "DATA_DIR" | "HOST" | "PORT"));
    Some(argument)
}
