use std::fs::Permissions;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use tempfile::TempDir;

use super::super::tests::key;
use super::super::{Address, Vault};
use super::*;

const AT: Address<'static> = Address { table: "endpoints", column: "secret", owner: "ses_a", row: b"end_1" };

/// A folder, and the settings of a gateway whose master key lies in it.
fn home() -> (TempDir, VaultConfig) {
    let directory = tempfile::tempdir().unwrap();
    let config = VaultConfig::in_file(directory.path().join("deep/master.key"));
    (directory, config)
}

/// The same after a first start.
async fn lived_in() -> (TempDir, VaultConfig) {
    let (directory, config) = home();
    Vault::open(&config).await.unwrap().keep_key().unwrap();
    (directory, config)
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

async fn refusal(config: &VaultConfig) -> String {
    Vault::open(config).await.unwrap_err().to_string()
}

#[tokio::test]
async fn makes_the_key_file_once_for_its_owner_only_and_not_before_it_is_taken() {
    let (_directory, config) = home();
    let vault = Vault::open(&config).await.unwrap();
    let sealed = vault.seal(AT, b"kept");
    assert!(!config.key_file.exists());
    vault.keep_key().unwrap();
    vault.keep_key().unwrap();
    assert_eq!((mode(&config.key_file), mode(config.key_file.parent().unwrap())), (0o600, 0o700));
    assert_eq!(Vault::open(&config).await.unwrap().unseal(AT, &sealed).as_deref(), Some(&b"kept"[..]));
    let late = Unwritten { path: config.key_file.clone(), text: MasterKey::generate() };
    assert!(matches!(late.write(), Err(VaultError::File { .. })), "a file that is there is not written over");
    assert_eq!(Vault::open(&config).await.unwrap().unseal(AT, &sealed).as_deref(), Some(&b"kept"[..]));
}

#[tokio::test]
async fn refuses_a_key_that_is_not_32_bytes_of_base64() {
    let encode = |bytes: &[u8]| STANDARD.encode(bytes);
    for bad in ["", "geheim", "AAAA", &encode(&[0; 31]), &encode(&[0; 33])] {
        let told = refusal(&VaultConfig::given(SecretString::from(bad.to_owned()))).await;
        assert_eq!(told, "the master key in MASTER_KEY is not 32 bytes of base64", "{bad}");
        let old_keys = vec![key(1), SecretString::from(bad.to_owned())];
        let told = refusal(&VaultConfig { old_keys, ..VaultConfig::given(key(2)) }).await;
        assert!(told.contains("MASTER_KEYS_OLD (key 2)") && (bad.is_empty() || !told.contains(bad)), "{told}");
    }
    let (_directory, config) = lived_in().await;
    std::fs::write(&config.key_file, "geheim").unwrap();
    let told = refusal(&config).await;
    assert!(told.contains("deep/master.key") && !told.contains("geheim"), "{told}");
}

#[tokio::test]
async fn refuses_a_key_file_that_others_can_read_and_says_what_mends_it() {
    let (_directory, config) = lived_in().await;
    for bits in [0o644, 0o640, 0o604, 0o602] {
        chmod(&config.key_file, bits);
        let told = refusal(&config).await;
        let fix = format!("(mode {bits:o}); run: chmod 600 {}", config.key_file.display());
        assert!(told.ends_with(&fix), "{told}");
    }
    chmod(&config.key_file, 0o400);
    Vault::open(&config).await.unwrap();
    std::fs::write(&config.old_keys_file, "").unwrap();
    chmod(&config.old_keys_file, 0o644);
    assert!(refusal(&config).await.contains("chmod 600"));
}

#[tokio::test]
async fn the_key_has_one_source() {
    let (directory, config) = lived_in().await;
    let file = config.key_file.display().to_string();
    let given = VaultConfig { master_key: Some(key(1)), ..config.clone() };
    let told = refusal(&given).await;
    assert!(told.contains("MASTER_KEY is set") && told.contains(&file), "{told}");
    let printed = VaultConfig { key_command: Some(vec!["false".to_owned()]), ..config.clone() };
    let told = refusal(&printed).await;
    assert!(told.contains("MASTER_KEY_COMMAND is set") && told.contains(&file), "{told}");
    std::fs::rename(&config.key_file, directory.path().join("aside")).unwrap();
    Vault::open(&given).await.unwrap();
    assert!(!config.key_file.exists());
}

#[tokio::test]
async fn asks_a_program() {
    let (directory, config) = home();
    let script = directory.path().join("script");
    let words = vec!["sh".to_owned(), script.display().to_string()];
    let config = VaultConfig { key_command: Some(words), ..config };
    std::fs::write(&script, format!("echo {}", key(1).expose_secret())).unwrap();
    let sealed = Vault::open(&config).await.unwrap().seal(AT, b"kept");
    let same = Vault::open(&VaultConfig::given(key(1))).await.unwrap();
    assert_eq!(same.unseal(AT, &sealed).as_deref(), Some(&b"kept"[..]));
    std::fs::write(&script, "echo geheim").unwrap();
    let told = refusal(&config).await;
    assert!(told.contains("MASTER_KEY_COMMAND") && !told.contains("geheim"), "{told}");
    std::fs::write(&script, "echo no such token >&2; exit 2").unwrap();
    let told = refusal(&config).await;
    assert!(told.contains("exit status: 2: no such token"), "{told}");
}

#[tokio::test]
async fn another_key_takes_the_place_of_the_one_in_the_file_which_goes_on_opening() {
    let (_directory, config) = lived_in().await;
    let before = Vault::open(&config).await.unwrap();
    let sealed = before.seal(AT, b"kept");
    let (first, second) = (new_key(&config).unwrap(), new_key(&config).unwrap());
    assert_eq!((first.from, first.to), (before.ring().current(), second.from));
    let after = Vault::open(&config).await.unwrap();
    assert_eq!(after.ring().ids(), [second.to, first.from, first.to]);
    assert_eq!(after.unseal(AT, &sealed).as_deref(), Some(&b"kept"[..]));
    assert_eq!((mode(&config.key_file), mode(&config.old_keys_file)), (0o600, 0o600));
    let names = std::fs::read_dir(config.key_file.parent().unwrap()).unwrap();
    assert_eq!(names.count(), 2, "nothing is left behind");
    assert_eq!(before.look_again().await.unwrap().current(), second.to);
    std::fs::remove_file(&config.key_file).unwrap();
    let lost = before.look_again().await.err().unwrap();
    assert!(matches!(lost, VaultError::Missing(_)), "a running gateway makes no key: {lost}");
}

#[tokio::test]
async fn an_old_list_that_ends_without_a_line_end_loses_no_key() {
    let (_directory, config) = lived_in().await;
    std::fs::write(&config.old_keys_file, key(1).expose_secret()).unwrap();
    chmod(&config.old_keys_file, 0o600);
    new_key(&config).unwrap();
    assert_eq!(Vault::open(&config).await.unwrap().ring().ids().len(), 3);
}

#[tokio::test]
async fn a_key_that_is_in_no_file_or_being_changed_is_left_alone() {
    let told = |config: &VaultConfig| new_key(config).unwrap_err().to_string();
    let (_directory, config) = home();
    assert!(told(&config).contains("there is no master key file"));
    assert!(told(&VaultConfig::given(key(1))).contains("comes from MASTER_KEY,"));
    let printed = VaultConfig { key_command: Some(vec!["false".to_owned()]), ..config };
    assert!(told(&printed).contains("comes from MASTER_KEY_COMMAND,"));

    let (_directory, config) = lived_in().await;
    let before = std::fs::read(&config.key_file).unwrap();
    let other = beside(&config.key_file, ".new");
    std::fs::write(&other, "half").unwrap();
    assert!(told(&config).contains("another `wagate vault new-key` is at work"));
    std::fs::remove_file(&other).unwrap();
    std::fs::write(&config.old_keys_file, "broken").unwrap();
    chmod(&config.old_keys_file, 0o600);
    assert!(told(&config).contains("(line 1) is not 32 bytes"));
    assert!(!other.exists(), "what failed leaves nothing in the way");
    assert_eq!(std::fs::read(&config.key_file).unwrap(), before);
}
