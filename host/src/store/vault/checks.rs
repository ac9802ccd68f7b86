//! The check values that tie a database to the master keys it needs.
//!
//! A check value is a sealed value nobody needs, among the settings, one for each key that anything is sealed under. At a
//! start all of them must open: a key that is lost is noticed before the gateway reads or writes anything else. The
//! first stands under a name of its own, so that of two gateways that meet on a new database one is told so.
//!
//! Invariant: a key seals nothing before its check value is committed, and nothing is left under a key whose check value
//! goes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sqlx::error::DatabaseError;

use super::{Address, KeyId, Keyring, Vault};
use crate::store::pool::on;
use crate::store::sql::statements;
use crate::store::{Store, StoreError};

statements! {
    ALL = "SELECT name, value FROM settings WHERE name LIKE 'vault.canary%'";
    ADD = "INSERT INTO settings (name, value) VALUES ($1, $2)";
    SET_FIRST = "UPDATE settings SET value = $1 WHERE name = 'vault.canary'";
    DROP_OTHERS = "DELETE FROM settings WHERE name LIKE 'vault.canary.%'";
}

/// The name of the first check value; that of another has the key's id behind it.
pub(in crate::store) const FIRST: &str = "vault.canary";

/// What the database's check values say of a keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The database is new.
    New,
    /// All of them open, and one stands for the key that seals.
    Known,
    /// All of them open, and the key that seals has sealed nothing yet.
    Unknown,
}

/// What was found when they all open.
struct Judged {
    verdict: Verdict,
    /// Keys that something may be sealed under besides the one that seals.
    others: Vec<KeyId>,
}

/// Makes sure that the vault's keys open whatever the database holds, and that the database knows the one that seals.
pub(in crate::store) async fn admit(store: &Store) -> Result<(), StoreError> {
    let (vault, ring) = (store.vault(), store.vault().ring());
    let Judged { verdict, others } = judge(store, &ring).await?;
    vault.keep_key()?;
    if !others.is_empty() {
        let old = others.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::info!(old, current = %ring.current(), "secrets lie under older master keys; run: wagate vault rotate");
    }
    know(store, &ring, verdict).await
}

/// The same when the store was open already: the keys are taken up anew where those at hand no longer do.
pub(in crate::store) async fn admit_again(store: &Store) -> Result<(), StoreError> {
    let vault = store.vault();
    match change(store, vault, vault.ring()).await {
        Err(StoreError::KeyLost { .. }) => change(store, vault, Arc::new(vault.look_again().await?)).await,
        done => done,
    }
}

/// Lets the vault go over to these keys, if they open whatever the database holds.
pub(super) async fn change(store: &Store, vault: &Vault, ring: Arc<Keyring>) -> Result<(), StoreError> {
    let verdict = judge(store, &ring).await?.verdict;
    know(store, &ring, verdict).await?;
    vault.change(ring);
    Ok(())
}

/// Makes sure that the database knows the key that seals.
async fn know(store: &Store, ring: &Keyring, mut verdict: Verdict) -> Result<(), StoreError> {
    while verdict != Verdict::Known {
        match add(store, ring, verdict).await {
            // Another gateway was faster. What it sealed must open here, too.
            Err(StoreError::Taken(_)) => verdict = judge(store, ring).await?.verdict,
            done => return done,
        }
    }
    Ok(())
}

/// Leaves one check value, that of the key that seals: nothing is sealed under another any more.
pub(super) async fn settle(store: &Store, ring: &Keyring) -> Result<(), StoreError> {
    let value = sealed(ring, FIRST);
    let work = store.write(move |tx| {
        Box::pin(async move {
            on!(tx, |db, q| {
                sqlx::query(q(SET_FIRST)).bind(value).execute(&mut *db).await?;
                sqlx::query(q(DROP_OTHERS)).execute(db).await?;
            });
            Ok(())
        })
    });
    work.await
}

async fn judge(store: &Store, ring: &Keyring) -> Result<Judged, StoreError> {
    let values: Vec<(String, String)> = on!(store.readers(), |db, q| { sqlx::query_as(q(ALL)).fetch_all(db).await? });
    let mut verdict = if values.is_empty() { Verdict::New } else { Verdict::Unknown };
    let mut others = Vec::new();
    for (name, value) in values {
        let value = STANDARD.decode(value).unwrap_or_default();
        let Some(key) = KeyId::of_sealed(&value) else {
            return Err(StoreError::Sealed("the database's check value"));
        };
        if !ring.ids().contains(&key) {
            return Err(StoreError::KeyLost { needed: key, found: ring.described() });
        }
        if ring.unseal(address(&name), &value).is_none() {
            return Err(StoreError::Sealed("the database's check value"));
        }
        if key == ring.current() {
            verdict = Verdict::Known;
        } else {
            others.push(key);
        }
    }
    Ok(Judged { verdict, others })
}

/// Adds the check value of the key that seals; [`StoreError::Taken`] when somebody else did.
async fn add(store: &Store, ring: &Keyring, verdict: Verdict) -> Result<(), StoreError> {
    let name = match verdict {
        Verdict::New => FIRST.to_owned(),
        Verdict::Known | Verdict::Unknown => format!("{FIRST}.{}", ring.current()),
    };
    let value = sealed(ring, &name);
    let work = store.write(move |tx| {
        Box::pin(async move {
            let added = on!(tx, |db, q| { sqlx::query(q(ADD)).bind(name).bind(value).execute(db).await.map(|_| ()) });
            added.map_err(|error| StoreError::taken(error, DatabaseError::is_unique_violation, "the check value"))
        })
    });
    work.await
}

fn sealed(ring: &Keyring, name: &str) -> String {
    STANDARD.encode(ring.seal(address(name), name.as_bytes()))
}

fn address(name: &str) -> Address<'_> {
    Address { table: "settings", column: "value", owner: "", row: name.as_bytes() }
}

#[cfg(test)]
pub(in crate::store) mod tests;
