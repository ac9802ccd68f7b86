use std::os::unix::fs::PermissionsExt;

use secrecy::SecretString;

use super::*;

const AT: Address<'static> = Address { table: "endpoints", column: "secret", owner: "ses_a", row: b"end_1" };

fn under(seed: u8) -> Vault {
    let master_key = Some(SecretString::from(STANDARD.encode([seed; 32])));
    Vault::open(&VaultConfig { master_key, key_file: "/nonexistent/master.key".into() }).unwrap()
}

#[test]
fn opens_what_it_sealed_and_never_seals_alike() {
    let vault = under(1);
    let (first, second) = (vault.seal(AT, b"whsec_x"), vault.seal(AT, b"whsec_x"));
    assert_ne!(first, second);
    assert_eq!(vault.unseal(AT, &first).as_deref(), Some(&b"whsec_x"[..]));
    assert_eq!(vault.unseal(AT, &vault.seal(AT, b"")).as_deref(), Some(&b""[..]));
    assert_eq!(first.len(), HEAD + NONCE + b"whsec_x".len() + 16);
}

#[test]
fn refuses_another_address_another_key_and_every_changed_byte() {
    let vault = under(1);
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
    assert_eq!(under(2).unseal(AT, &sealed), None);
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(vault.unseal(AT, &changed), None, "byte {at}");
        assert_eq!(vault.unseal(AT, &sealed[..at]), None, "cut at {at}");
    }
}

#[test]
fn makes_the_key_file_once_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let config = VaultConfig { master_key: None, key_file: directory.path().join("deep/master.key") };
    let sealed = Vault::open(&config).unwrap().seal(AT, b"kept");
    assert_eq!(std::fs::metadata(&config.key_file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Vault::open(&config).unwrap().unseal(AT, &sealed).as_deref(), Some(&b"kept"[..]));
}

#[test]
fn refuses_a_key_that_is_not_32_bytes_of_base64() {
    for bad in ["", "geheim", "AAAA", &STANDARD.encode([0; 31]), &STANDARD.encode([0; 33])] {
        let master_key = Some(SecretString::from(bad.to_owned()));
        let opened = Vault::open(&VaultConfig { master_key, key_file: "/nonexistent".into() });
        assert!(matches!(opened, Err(VaultError::Malformed(origin)) if origin == "MASTER_KEY"), "{bad}");
    }
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", under(7)), "Vault { .. }");
}
