//! Settings for a reader: what is in force and why, and the example file.

use std::fmt::Write as _;

use super::{Setting, Values, settings};

/// Name, value and origin of every setting, one a line. Secrets are masked.
pub fn show(values: &Values) -> String {
    let wide = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
    let name = wide(&mut values.iter().map(|value| value.setting.key.len()));
    let text = wide(&mut values.iter().map(|value| value.shown().chars().count()));
    values.iter().fold(String::new(), |mut page, value| {
        let _infallible = writeln!(page, "{:name$}  {:text$}  {}", value.setting.key, value.shown(), value.origin);
        page
    })
}

/// A settings file that sets nothing and explains everything: `examples/gateway.toml`.
pub fn example() -> String {
    let mut page = String::from(concat!(
        "# Every setting of wagate. What is commented out is the default, or a sample where there is none.\n",
        "# Order: flag, environment, this file (--config FILE or WAGATE_CONFIG), default. `wagate config show` tells\n",
        "# which one is in force. Written by `wagate config example`.\n",
    ));
    let mut table = "";
    for setting in settings() {
        let (area, name) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
        if area != table {
            let _infallible = write!(page, "\n[{area}]\n");
            table = area;
        }
        let _infallible = write!(page, "\n{}#{name} = {}\n", explained(setting), written(setting));
    }
    page
}

fn explained(setting: &Setting) -> String {
    let names = [setting.flag().map(|flag| format!("--{flag}")), Some(setting.env.to_owned()), setting.file_env()];
    let names = names.into_iter().flatten().collect::<Vec<_>>().join(", ");
    format!("# {}\n# Expects {}. {names}\n", setting.doc, setting.expects)
}

/// The default or sample as TOML.
fn written(setting: &Setting) -> String {
    let text = setting.default.unwrap_or(setting.sample);
    let plain = text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok();
    if plain { text.to_owned() } else { toml::Value::from(text).to_string() }
}
