//! `encrypt`: a device publishes its pre-keys, and takes bundles of those it wants to write to.
//!
//! Shapes are those of wacore 0.7.0 `src/iq/prekeys.rs`; the digest is SHA-1 over identity, signed pre-key, its
//! signature and the one-time pre-keys in the order listed (`src/prekeys.rs`). Invariant: a one-time pre-key is given
//! out once.

use std::sync::Arc;

use whatsapp_rust::wacore::iq::prekeys::{OneTimePreKeyNode, PreKeyBundleUserNode, SignedPreKeyNode};
use whatsapp_rust::wacore::libsignal::protocol::SignalProtocolError;
use whatsapp_rust::wacore::prekeys::compute_key_bundle_digest;
use whatsapp_rust::wacore::protocol::ProtocolNode as _;

use super::super::socket::Session;
use crate::account::{SignedPreKey, lock};
use crate::directory::Address;
use crate::network::Core;
use crate::wire::{Jid, Node, NodeBuilder, Stanza as _, big_endian, blob, error_of, parent, result_of};

/// Answers a question; `None` if it is unknown.
pub(super) async fn get(core: &Arc<Core>, session: &Session, iq: &Node) -> Option<Node> {
    let question = iq.all().first()?;
    match question.tag.as_ref() {
        "count" => {
            let count = lock(&session.companion.keys).one_time.len() as u64;
            Some(result_of(iq).children([NodeBuilder::new("count").attr("value", count).build()]).build())
        }
        "digest" => Some(digest(session, iq)),
        "key" => {
            let mut users = Vec::new();
            for jid in question.all().iter().filter_map(|user| user.jid("jid")) {
                users.push(bundle(core, session, jid).await);
            }
            Some(result_of(iq).children([parent("list", users)]).build())
        }
        _ => None,
    }
}

/// Takes in published keys; `None` if the command is unknown.
pub(super) fn set(session: &Session, iq: &Node) -> Option<Node> {
    if let Some(rotation) = iq.child("rotate") {
        let signed = rotation.child("skey").and_then(signed_pre_key);
        return Some(match signed {
            Some(signed) => {
                lock(&session.companion.keys).signed = signed;
                result_of(iq).build()
            }
            None => error_of(iq, 400, "bad-request"),
        });
    }
    let list = iq.child("list")?;
    let mut keys = lock(&session.companion.keys);
    for key in list.all() {
        if let (Some(id), Some(public)) = (key.child_bytes("id").and_then(big_endian), key.child_bytes("value")) {
            keys.one_time.push_back((id, public.to_vec()));
        }
    }
    if let Some(signed) = iq.child("skey").and_then(signed_pre_key) {
        keys.signed = signed;
    }
    Some(result_of(iq).build())
}

fn signed_pre_key(node: &Node) -> Option<SignedPreKey> {
    Some(SignedPreKey {
        id: node.child_bytes("id").and_then(big_endian)?,
        public: node.child_bytes("value")?.to_vec(),
        signature: node.child_bytes("signature")?.to_vec(),
    })
}

fn digest(session: &Session, iq: &Node) -> Node {
    let companion = &session.companion;
    let keys = lock(&companion.keys);
    if keys.one_time.is_empty() {
        return error_of(iq, 404, "item-not-found");
    }
    let publics: Vec<&[u8]> = keys.one_time.iter().map(|(_, public)| public.as_slice()).collect();
    let hash = compute_key_bundle_digest(&companion.identity, &keys.signed.public, &keys.signed.signature, &publics);
    let ids = keys.one_time.iter().map(|(id, _)| blob("id", short(*id)));
    let digest = parent(
        "digest",
        [
            blob("registration", companion.registration.to_be_bytes()),
            blob("type", [5]),
            blob("identity", companion.identity),
            SignedPreKeyNode::new(keys.signed.id, keys.signed.public.clone(), keys.signed.signature.clone())
                .into_node(),
            parent("list", ids),
            blob("hash", hash),
        ],
    );
    result_of(iq).children([digest]).build()
}

/// A key id as three bytes.
fn short(id: u32) -> Vec<u8> {
    id.to_be_bytes()[1..].to_vec()
}

async fn bundle(core: &Core, session: &Session, jid: Jid) -> Node {
    let Some(address) = core.directory.resolve(&jid) else { return refused(jid, 404) };
    address.account.watched_by(&session.account);
    match bundle_of(&address, jid.clone()).await {
        Ok(Some(bundle)) => bundle.into_node(),
        Ok(None) => refused(jid, 406),
        Err(error) => {
            tracing::warn!(%error, "a bundle cannot be made");
            refused(jid, 500)
        }
    }
}

async fn bundle_of(address: &Address, jid: Jid) -> Result<Option<PreKeyBundleUserNode>, SignalProtocolError> {
    let invalid = |error: whatsapp_rust::anyhow::Error| SignalProtocolError::InvalidArgument(error.to_string());
    if address.device == 0 {
        let bundle = address.account.phone_bundle().await?;
        return PreKeyBundleUserNode::from_bundle(jid, &bundle, None).map(Some).map_err(invalid);
    }
    let Some(companion) = address.account.companion(address.device) else { return Ok(None) };
    let bundle = companion.take_bundle()?;
    let one_time = match (bundle.pre_key_id()?, bundle.pre_key_public()?) {
        (Some(id), Some(public)) => Some(OneTimePreKeyNode::new(id.into(), public.public_key_bytes().to_vec())),
        _ => None,
    };
    Ok(Some(PreKeyBundleUserNode {
        jid,
        registration_id: companion.registration,
        identity_key: companion.identity.to_vec(),
        signed_pre_key: SignedPreKeyNode::new(
            bundle.signed_pre_key_id()?.into(),
            bundle.signed_pre_key_public()?.public_key_bytes().to_vec(),
            bundle.signed_pre_key_signature()?.to_vec(),
        ),
        one_time_pre_key: one_time,
        device_identity: Some(companion.device_identity.clone()),
    }))
}

fn refused(jid: Jid, code: u32) -> Node {
    let error = NodeBuilder::new("error").attr("code", code).attr("text", "not-acceptable").build();
    NodeBuilder::new("user").attr("jid", jid).children([error]).build()
}
