//! The founding webhook body.

use crate::model::Event;

/// The founding body.
pub fn founding(_event: &Event) -> String {
    unimplemented!()
}
