//! `config`: what the operator set for this binding. Always granted.

use crate::plugin::api::v1::config::Host;
use crate::plugin::state::State;

impl Host for State {
    fn get(&mut self, key: String) -> Option<String> {
        self.call.place.settings.get(&key)
    }

    fn get_json(&mut self) -> String {
        self.call.place.settings.json().to_owned()
    }
}
