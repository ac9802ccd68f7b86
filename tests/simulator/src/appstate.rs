//! App state: the account's settings, kept as an encrypted log of patches per collection.
//!
//! The server only numbers and stores patches; the phone holds the key and writes the first one, which carries the
//! push name (`setting_pushName` in `critical_block`, wacore-appstate 0.7.0 `schemas.rs`). A client that lags behind
//! is given the patches it misses; a client that writes on an old version gets a 409 with them. Invariant: version
//! `n` of a collection is its `n`-th patch, and patches never change.

use std::collections::HashMap;

use whatsapp_rust::wacore::appstate::hash::{HashState, generate_patch_mac};
use whatsapp_rust::wacore::appstate::schemas::SETTING_PUSH_NAME;
use whatsapp_rust::wacore::appstate::{encode_record, expand_app_state_keys};

use crate::wire::{MessageField, Node, NodeBuilder, Protobuf as _, Stanza, blob, parent, unix_millis, wa};

/// The id of the only key an account's phone shares.
const KEY_ID: [u8; 6] = [0, 0, 0, 0, 0, 1];
/// How many patches one answer carries at most.
const PATCHES_AN_ANSWER: usize = 100;

/// The settings log of one account and the key it is encrypted with.
pub(crate) struct AppState {
    key: [u8; 32],
    collections: HashMap<String, Vec<Vec<u8>>>,
}

/// What became of one `<collection>` request.
pub(crate) struct Answer {
    /// The `<collection>` element to answer with.
    pub(crate) node: Node,
    /// The new version, if the client's patch was accepted.
    pub(crate) advanced: Option<(String, u64)>,
}

impl AppState {
    /// A new account's settings: only the push name.
    pub(crate) fn new(push_name: &str) -> Self {
        let mut state = Self { key: rand::random(), collections: HashMap::new() };
        let name = SETTING_PUSH_NAME.collection.as_str();
        state.collections.insert(name.to_owned(), vec![state.push_name_patch(name, push_name)]);
        state
    }

    /// The message by which the phone hands its key to a companion.
    pub(crate) fn key_share(&self, raw_id: u32) -> wa::message::ProtocolMessage {
        use wa::message::{AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId};
        let fingerprint =
            AppStateSyncKeyFingerprint { raw_id: Some(raw_id), current_index: Some(1), device_indexes: vec![0, 1] };
        let data = AppStateSyncKeyData {
            key_data: Some(self.key.to_vec()),
            fingerprint: MessageField::some(fingerprint),
            timestamp: Some(unix_millis()),
        };
        let key = AppStateSyncKey {
            key_id: MessageField::some(AppStateSyncKeyId { key_id: Some(KEY_ID.to_vec()) }),
            key_data: MessageField::some(data),
        };
        wa::message::ProtocolMessage {
            r#type: Some(wa::message::protocol_message::Type::APP_STATE_SYNC_KEY_SHARE),
            app_state_sync_key_share: MessageField::some(wa::message::AppStateSyncKeyShare { keys: vec![key] }),
            ..Default::default()
        }
    }

    /// Answers one `<collection>` of a sync request, taking in its patch if it has one.
    pub(crate) fn sync(&mut self, request: &Node) -> Answer {
        let name = request.text("name").unwrap_or_default().into_owned();
        let known: u64 = request.number("version").unwrap_or(0);
        let patches = self.collections.entry(name.clone()).or_default();
        let version = patches.len() as u64;
        let Some(patch) = request.child_bytes("patch") else {
            return Answer { node: collection(&name, "result", known, patches), advanced: None };
        };
        if known != version {
            return Answer { node: conflict(&name, known, patches), advanced: None };
        }
        let Ok(mut patch) = wa::SyncdPatch::decode_from_slice(patch) else {
            return Answer { node: refusal(&name), advanced: None };
        };
        patch.version = MessageField::some(wa::SyncdVersion { version: Some(version + 1) });
        patches.push(patch.encode_to_vec());
        let node = NodeBuilder::new("collection").attr("name", name.as_str()).attr("type", "result");
        Answer { node: node.attr("version", version + 1).build(), advanced: Some((name, version + 1)) }
    }

    fn push_name_patch(&self, collection: &str, push_name: &str) -> Vec<u8> {
        let keys = expand_app_state_keys(&self.key);
        let value = wa::SyncActionValue {
            push_name_setting: MessageField::some(wa::sync_action_value::PushNameSetting {
                name: Some(push_name.to_owned()),
            }),
            timestamp: Some(unix_millis()),
            ..Default::default()
        };
        let (mutation, _) = encode_record(
            wa::syncd_mutation::SyncdOperation::SET,
            format!("[\"{}\"]", SETTING_PUSH_NAME.name).as_bytes(),
            &value,
            &keys,
            &KEY_ID,
            &rand::random(),
            i32::try_from(SETTING_PUSH_NAME.version).unwrap_or(1),
        );
        let mut state = HashState::default();
        let _ = state.update_hash(std::slice::from_ref(&mutation), |_, _| Ok(None));
        state.version = 1;
        let mut patch = wa::SyncdPatch {
            version: MessageField::some(wa::SyncdVersion { version: Some(1) }),
            mutations: vec![mutation],
            snapshot_mac: Some(state.generate_snapshot_mac(collection, &keys.snapshot_mac)),
            key_id: MessageField::some(wa::KeyId { id: Some(KEY_ID.to_vec()) }),
            device_index: Some(0),
            ..Default::default()
        };
        patch.patch_mac = Some(generate_patch_mac(&patch, collection, &keys.patch_mac, 1));
        patch.encode_to_vec()
    }
}

fn collection(name: &str, kind: &'static str, known: u64, patches: &[Vec<u8>]) -> Node {
    let missing = patches.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
    let more = missing.len() > PATCHES_AN_ANSWER;
    let sent = &missing[..missing.len().min(PATCHES_AN_ANSWER)];
    let node = NodeBuilder::new("collection")
        .attr("name", name)
        .attr("type", kind)
        .attr("version", known.min(patches.len() as u64) + sent.len() as u64);
    let node = if more { node.attr("has_more_patches", "true") } else { node };
    if sent.is_empty() {
        return node.build();
    }
    node.children([parent("patches", sent.iter().map(|patch| blob("patch", patch.clone())))]).build()
}

/// The client wrote on an old version: 409 with what it misses (`CollectionSyncError::Conflict`).
fn conflict(name: &str, known: u64, patches: &[Vec<u8>]) -> Node {
    let mut node = collection(name, "error", known, patches);
    let error = NodeBuilder::new("error").attr("code", "409").attr("text", "conflict").build();
    let children = std::iter::once(error).chain(node.all().iter().cloned()).collect();
    node.content = Some(crate::wire::NodeContent::Nodes(children));
    node
}

fn refusal(name: &str) -> Node {
    let error = NodeBuilder::new("error").attr("code", "400").attr("text", "bad-request").build();
    NodeBuilder::new("collection").attr("name", name).attr("type", "error").children([error]).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use whatsapp_rust::wacore::appstate::patch_decode::parse_patch_lists;
    use whatsapp_rust::wacore::appstate::process_patch;

    fn request(version: u64) -> Node {
        NodeBuilder::new("collection").attr("name", "critical_block").attr("version", version).build()
    }

    #[test]
    fn the_first_patch_carries_the_push_name_under_valid_macs() {
        let mut state = AppState::new("Ada");
        let list = parse_patch_lists(&parent("sync", [state.sync(&request(0)).node])).unwrap().remove(0);
        let keys = Arc::new(expand_app_state_keys(&state.key));
        let read = process_patch(
            &list.patches[0],
            &mut HashState::default(),
            |_| Ok(Arc::clone(&keys)),
            |_| Ok(None),
            true,
            "critical_block",
        )
        .unwrap();
        let value = read.mutations[0].action_value.as_ref().unwrap();
        assert_eq!(value.push_name_setting.as_option().unwrap().name.as_deref(), Some("Ada"));
    }

    #[test]
    fn a_write_on_an_old_version_is_a_conflict_with_what_is_missing() {
        let mut state = AppState::new("Ada");
        let mut write = request(0);
        write.content = parent("x", [blob("patch", vec![])]).content;
        let answer = state.sync(&write);
        assert!(answer.advanced.is_none());
        assert_eq!(answer.node.text("type").unwrap(), "error");
        assert!(answer.node.child("patches").is_some());

        write.attrs.insert("version", 1u64);
        assert_eq!(state.sync(&write).advanced, Some(("critical_block".to_owned(), 2)));
        assert!(state.sync(&request(2)).node.child("patches").is_none());
    }
}
