use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::rotation::tests::Filled;
use super::*;
use crate::store::tests::{Fixture, On, columns, every_engine};

/// The other columns of bytes: names that rows are found by, digests, and what is no secret of an account. One that a
/// migration adds stands here or in [`COLUMNS`], or a test below fails.
const OPEN: [(&str, &str); 18] = [
    ("attempts", "answer"),
    ("components", "bytes"),
    ("deliveries", "body_bytes"),
    ("events", "dedup"),
    ("events", "message_key"),
    ("plugin_values", "name"),
    ("plugin_values", "value"),
    ("sends", "digest"),
    ("whatsapp_keys", "name"),
    ("whatsapp_keys", "scope"),
    ("whatsapp_lids", "lid"),
    ("whatsapp_lids", "phone"),
    ("whatsapp_messages", "chat"),
    ("whatsapp_messages", "message_id"),
    ("whatsapp_messages", "sender"),
    ("whatsapp_sender_key_devices", "chat"),
    ("whatsapp_sender_key_devices", "device"),
    ("whatsapp_tokens", "jid"),
];

/// How many values of a column begin like this.
async fn begin_with(at: &Fixture, table: &str, column: &str, literal: &str, length: usize) -> i64 {
    let quote = if at.engine == On::MySql { '`' } else { '"' };
    let sql = format!("SELECT COUNT(*) FROM {table} WHERE SUBSTR({quote}{column}{quote}, 1, {length}) = {literal}");
    let sql = sqlx::AssertSqlSafe(sql);
    on!(at.store.readers(), |db, _q| { sqlx::query_scalar(sql).fetch_one(db).await.unwrap() })
}

every_engine! {
    /// Whoever seals something that is not in the table is found here, and by the assertion in `Vault::seal`.
    async fn every_sealed_column_of_the_schema_is_listed(at) {
        Filled::fill(&at.store).await;
        let head = at.store.vault().ring().current().head();
        let hex: String = head.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let bytes = if at.engine == On::Postgres { format!("'\\x{hex}'::bytea") } else { format!("x'{hex}'") };
        // Six characters of base64 hold 36 bits, and a head has 40.
        let text = format!("'{}'", &STANDARD.encode(head)[..6]);
        let (mut sealed, mut encoded) = (BTreeSet::new(), BTreeSet::new());
        for (table, column, kind, _) in columns(&at).await {
            match kind {
                "bytes" if begin_with(&at, &table, &column, &bytes, HEAD).await > 0 => {
                    sealed.insert((table, column));
                }
                "text" if begin_with(&at, &table, &column, &text, 6).await > 0 => {
                    encoded.insert((table, column));
                }
                _ => {}
            }
        }
        let listed: BTreeSet<_> = COLUMNS.iter().map(|one| (one.table.to_owned(), one.column.to_owned())).collect();
        assert_eq!(sealed, listed, "{:?}", at.engine);
        assert_eq!(encoded, BTreeSet::from([("settings".to_owned(), "value".to_owned())]), "{:?}", at.engine);
    }

    async fn every_column_of_bytes_is_sealed_or_known_to_be_open(at) {
        let schema = columns(&at).await;
        let bytes = schema.iter().filter(|(_, _, kind, _)| *kind == "bytes");
        let bytes: BTreeSet<_> = bytes.map(|(table, column, ..)| (table.as_str(), column.as_str())).collect();
        let known: BTreeSet<_> = COLUMNS.iter().map(|one| (one.table, one.column)).chain(OPEN).collect();
        assert_eq!(bytes, known, "a new column of bytes is sealed, or not, for a reason");
        let kind = |table: &str, column: &str| {
            let found = schema.iter().find(|(of, name, ..)| of == table && name == column);
            found.map(|(_, _, kind, _)| *kind)
        };
        for one in &COLUMNS {
            assert_eq!(kind(one.table, one.column), Some("bytes"), "{one:?}");
            assert_eq!(kind(one.table, one.owner), Some("text"), "{one:?}");
            for (name, form) in one.key {
                let expected = if *form == Form::Text { "text" } else { "bytes" };
                assert_eq!(kind(one.table, name), Some(expected), "{one:?}: {name}");
            }
        }
    }
}

/// The statements are made of the names beside them, by macros that take each name as text.
#[test]
fn the_statements_are_those_of_their_columns() {
    for Column { table, column, owner, key, next_owner, page, swap, heads, .. } in &COLUMNS {
        let names = key.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let list = |from: usize| (0..names.len()).map(|at| format!("${}", from + at)).collect::<Vec<_>>();
        let (key, bounds) = (names.join(", "), list(3).join(", "));
        let equal = names.iter().zip(list(4)).map(|(name, at)| format!("{name} = {at}")).collect::<Vec<_>>();
        assert_eq!(next_owner.numbered, format!("SELECT MIN({owner}) FROM {table} WHERE {owner} > $1"));
        let expected = format!(
            "SELECT {key}, {column} FROM {table} WHERE {owner} = $1 AND SUBSTR({column}, 1, {HEAD}) <> $2 \
             AND LENGTH({column}) > 0 AND ({key}) >= ({bounds}) ORDER BY {key} LIMIT {PAGE}"
        );
        assert_eq!(page.numbered, expected);
        let expected = format!(
            "UPDATE {table} SET {column} = $1 WHERE {column} = $2 AND {owner} = $3 AND {}",
            equal.join(" AND ")
        );
        assert_eq!(swap.numbered, expected);
        assert!(heads.numbered.contains(&format!(" FROM {table} ")) && heads.numbered.contains(column));
    }
}
