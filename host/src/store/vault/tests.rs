use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

use super::keyring::{HEAD, NONCE};
use super::*;

const AT: Address<'static> = Address { table: "endpoints", column: "secret", owner: "ses_a", row: b"end_1" };

/// A master key as text.
pub(super) fn key(seed: u8) -> SecretString {
    SecretString::from(STANDARD.encode([seed; 32]))
}

/// Under a key, with older ones behind it.
pub(super) async fn under(seed: u8, old: &[u8]) -> Vault {
    let old_keys = old.iter().map(|seed| key(*seed)).collect();
    Vault::open(&VaultConfig { old_keys, ..VaultConfig::given(key(seed)) }).await.unwrap()
}

#[tokio::test]
async fn opens_what_it_sealed_and_never_seals_alike() {
    let vault = under(1, &[]).await;
    let (first, second) = (vault.seal(AT, b"whsec_x"), vault.seal(AT, b"whsec_x"));
    assert_ne!(first, second);
    assert_eq!(vault.unseal(AT, &first).as_deref(), Some(&b"whsec_x"[..]));
    assert_eq!(vault.unseal(AT, &vault.seal(AT, b"")).as_deref(), Some(&b""[..]));
    assert_eq!(first.len(), HEAD + NONCE + b"whsec_x".len() + 16);
}

#[tokio::test]
async fn refuses_another_address_another_key_and_every_changed_byte() {
    let vault = under(1, &[3]).await;
    let sealed = vault.seal(AT, b"secret");
    let elsewhere = [
        Address { table: "endpoint", ..AT },
        Address { column: "url", ..AT },
        Address { owner: "ses_b", ..AT },
        Address { row: b"end_2", ..AT },
        // The same bytes split differently.
        Address { owner: "ses_aend", row: b"_1", ..AT },
    ];
    for at in elsewhere {
        assert_eq!(vault.unseal(at, &sealed), None, "{at:?}");
    }
    assert_eq!(under(2, &[3]).await.unseal(AT, &sealed), None);
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(vault.unseal(AT, &changed), None, "byte {at}");
        assert_eq!(vault.unseal(AT, &sealed[..at]), None, "cut at {at}");
    }
}

#[tokio::test]
async fn an_old_key_opens_and_does_not_seal() {
    let sealed = under(1, &[]).await.seal(AT, b"secret");
    let vault = under(2, &[1, 3, 1]).await;
    assert_eq!(vault.unseal(AT, &sealed).as_deref(), Some(&b"secret"[..]));
    assert_eq!(under(1, &[]).await.unseal(AT, &vault.seal(AT, b"secret")), None);
    let ring = vault.ring();
    assert_eq!(KeyId::of_sealed(&vault.seal(AT, b"secret")), Some(ring.current()));
    assert_eq!(ring.ids().len(), 3, "the same key twice is one");
    let anew = ring.reseal(AT, &sealed).unwrap();
    assert_eq!(KeyId::of_sealed(&anew), Some(ring.current()));
    assert_eq!(under(2, &[]).await.unseal(AT, &anew).as_deref(), Some(&b"secret"[..]));
    assert_eq!(ring.reseal(Address { row: b"end_2", ..AT }, &sealed), None);
}

#[tokio::test]
async fn a_key_goes_by_an_id_that_every_value_begins_with() {
    let vault = under(1, &[]).await;
    let id = vault.ring().current();
    assert_eq!(id.to_string().len(), 8);
    assert_eq!(vault.seal(AT, b"x")[..HEAD], id.head());
    assert_eq!(KeyId::of_sealed(&id.head()), Some(id));
    assert_ne!(under(2, &[]).await.ring().current(), id);
    for other in [&b""[..], &[1, 2, 3, 4], &[2, 0, 0, 0, 0, 0]] {
        assert_eq!(KeyId::of_sealed(other), None, "{other:?}");
    }
}

#[test]
fn parts_of_a_row_are_told_apart() {
    assert_ne!(joined(&[b"ab", b"c"]), joined(&[b"a", b"bc"]));
}

#[tokio::test]
async fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", under(7, &[8]).await), "Vault { .. }");
    let config = VaultConfig { old_keys: vec![key(8)], ..VaultConfig::given(key(7)) };
    let shown = format!("{config:?}");
    assert!(!shown.contains(&STANDARD.encode([7; 32])) && !shown.contains(&STANDARD.encode([8; 32])), "{shown}");
}
