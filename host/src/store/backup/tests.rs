use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::time::sleep;

use super::schema::{Kind as Held, Schema};
use super::*;
use crate::app::tasks::Tasks;
use crate::config::VaultConfig;
use crate::model::{Role, Scope, SessionId};
use crate::store::Vault;
use crate::store::keys::Kind;
use crate::store::sql::{Sql, sql};
use crate::store::tests::{Fixture, On, columns, every_engine};
use crate::store::vault::rotation::tests::Filled;

/// A name with whatever trips up terminators, patterns, quoting and alphabets.
const ODD: &[u8] = b"nul\0 % _ ' \\ \xff\xfe";
const TITLE: &str = "naïve 🦀 👩‍👩‍👧‍👦 ' \\ % \"$1\" ? \n\t\u{2028}";

/// Under a key, with older ones behind it. Fixtures are under 1.
async fn under(seed: u8, old: &[u8]) -> Vault {
    let key = |seed: u8| SecretString::from(STANDARD.encode([seed; 32]));
    let old_keys = old.iter().map(|seed| key(*seed)).collect();
    Vault::open(&VaultConfig { old_keys, ..VaultConfig::given(key(seed)) }).await.unwrap()
}

/// Every row of every table, with the number each table gives out next. Engines may differ in the order of rows.
#[derive(Debug, Default, PartialEq)]
struct Heap(BTreeMap<String, (Option<i64>, Vec<Row>)>);

impl Heap {
    async fn of(config: &DatabaseConfig) -> Self {
        let mut snapshot = Snapshot::of(dialect::visit(config).await.unwrap(), "the database").await.unwrap();
        let mut heap = Self::default();
        snapshot.pour(&mut heap).await.unwrap();
        snapshot.close().await.unwrap();
        heap
    }

    /// Tables with rows; settings do not count, because whoever opens a database writes some.
    fn filled(&self) -> Vec<&str> {
        let filled = self.0.iter().filter(|(name, (_, rows))| !rows.is_empty() && *name != "settings");
        filled.map(|(name, _)| name.as_str()).collect()
    }
}

impl Sink for Heap {
    async fn table(&mut self, table: &Table, next: Option<i64>) -> Result<(), BackupError> {
        assert!(self.0.insert(table.name.clone(), (next, Vec::new())).is_none(), "{} comes twice", table.name);
        Ok(())
    }

    async fn row(&mut self, table: &Table, row: Row) -> Result<(), BackupError> {
        self.0.get_mut(&table.name).unwrap().1.push(row);
        Ok(())
    }

    async fn end(&mut self, table: &Table) -> Result<(), BackupError> {
        self.0.get_mut(&table.name).unwrap().1.sort_by_key(|row| format!("{row:?}"));
        Ok(())
    }
}

/// Fills a store with something of everything, and answers the number the next user will have.
async fn fill(store: &Store) -> (Filled, i64) {
    let filled = Filled::fill(store).await;
    let gateway = store.sessions(Scope::gateway());
    assert!(gateway.rename(&filled.session, TITLE).await.unwrap());
    let keys = store.keys(filled.session.clone());
    let (long, nul) = (vec![0xa5; 64 * 1024], [0_u8; 300]);
    keys.put(&[(Kind::Session.key(ODD), &long), (Kind::BaseKey.within(ODD, b""), &nul)]).await.unwrap();
    keys.put(&[(Kind::Identity.key(&vec![b'x'; 65_536]), b"")]).await.unwrap();
    // Numbers that were given out and are gone.
    let gone = store.users().add("bob", Role::Admin, "no hash", true).await.unwrap().id;
    assert!(store.users().remove(gone).await.unwrap());
    (filled, gone.0 + 1)
}

/// A place for backups and databases.
fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn open(config: &DatabaseConfig, vault: Vault) -> (Store, Tasks) {
    let tasks = Tasks::new();
    (Store::open(config, vault, Clock::System, &tasks).await.unwrap(), tasks)
}

/// Makes sure that a restored database goes on where the one before stopped.
async fn goes_on(config: &DatabaseConfig, filled: &Filled, next: i64) {
    let (store, _tasks) = open(config, under(1, &[]).await).await;
    filled.check(&store).await;
    let session = store.sessions(Scope::gateway()).get(&filled.session).await.unwrap().unwrap();
    assert_eq!(session.name, TITLE);
    let keys = store.keys(filled.session.clone());
    assert_eq!(keys.get(Kind::Session.key(ODD)).await.unwrap(), Some(vec![0xa5; 64 * 1024]));
    assert_eq!(keys.get(Kind::BaseKey.within(ODD, b"")).await.unwrap(), Some(vec![0; 300]));
    assert_eq!(keys.get(Kind::Identity.key(&vec![b'x'; 65_536])).await.unwrap(), Some(Vec::new()));
    let carl = store.users().add("carl", Role::User, "no hash", false).await.unwrap();
    assert_eq!(carl.id.0, next, "a number is never given out twice");
    store.close().await;
}

#[tokio::test]
async fn a_dump_goes_into_every_engine_and_back() {
    let (at, folder) = (Fixture::open().await, folder());
    let (filled, next) = fill(&at.store).await;
    at.store.close().await;
    let first = folder.path().join("first.dump");
    let written = dump(&at.config, &first, &at.clock).await.unwrap();
    let before = Heap::of(&at.config).await;
    assert!(before.0.values().any(|(_, rows)| rows.is_empty()), "empty tables go along");
    assert_eq!(written.keys.len(), 1);
    for engine in On::all() {
        let (away, home) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let target = engine.database(&away).await;
        let vault = under(2, &[1]).await;
        let restored = restore(&first, &target, &vault, false).await.unwrap();
        assert!(restored.dump);
        assert_eq!(restored.contents, written, "{engine:?}");
        assert_eq!(Heap::of(&target).await, before, "{engine:?}");

        let second = folder.path().join(format!("{engine:?}.dump"));
        dump(&target, &second, &at.clock).await.unwrap();
        let back = On::Sqlite.database(&home).await;
        restore(&second, &back, &vault, false).await.unwrap();
        assert_eq!(Heap::of(&back).await, before, "back from {engine:?}");
        goes_on(&target, &filled, next).await;
        goes_on(&back, &filled, next).await;
    }
}

#[tokio::test]
async fn a_copied_file_goes_into_every_engine() {
    let (at, folder) = (Fixture::open().await, folder());
    let (filled, next) = fill(&at.store).await;
    let file = folder.path().join("copy.db");
    let copied = at.store.copy_to(&file).await.unwrap();
    let refused = at.store.copy_to(&file).await;
    assert!(matches!(refused, Err(BackupError::Exists(_))), "{refused:?}");
    at.store.close().await;
    let before = Heap::of(&at.config).await;
    for engine in On::all() {
        let away = TempDir::new().unwrap();
        let target = engine.database(&away).await;
        let restored = restore(&file, &target, &under(1, &[]).await, false).await.unwrap();
        assert!(!restored.dump);
        assert_eq!(restored.contents.tables, copied.tables);
        assert_eq!(Heap::of(&target).await, before, "{engine:?}");
        goes_on(&target, &filled, next).await;
    }
    assert_eq!(inspect(&file).await.unwrap().rows(), copied.rows(), "a backup is only read");
}

every_engine! {
    /// A table or a column that a migration adds is in every backup, but for what a database notes about itself.
    async fn the_schema_has_every_table_and_column(at) {
        let schema = Schema::of(dialect::newest()).await.unwrap();
        let known = schema.tables.iter().flat_map(|table| {
            table.columns.iter().map(|column| (table.name.clone(), column.name.clone(), column.kind))
        });
        let kind = |name: &str| match name {
            "number" => Held::Integer,
            "flag" => Held::Flag,
            "text" => Held::Text,
            "bytes" => Held::Bytes,
            other => panic!("{other}"),
        };
        let found = columns(&at).await.into_iter().filter(|(table, ..)| table != "leadership");
        let found = found.map(|(table, column, name, _)| (table, column, kind(name)));
        let sorted = |list: Vec<(String, String, Held)>| {
            list.into_iter().map(|(table, column, kind)| format!("{table}.{column} {kind:?}")).collect::<BTreeSet<_>>()
        };
        assert_eq!(sorted(found.collect()), sorted(known.collect()), "{:?}", at.engine);
    }

    async fn a_database_with_rows_is_not_restored_into(at) {
        let folder = folder();
        let file = folder.path().join("backup.dump");
        dump_of_one_user(&file).await;
        at.store.users().add("zoe", Role::User, "no hash", false).await.unwrap();
        at.store.close().await;
        let before = Heap::of(&at.config).await;
        for rehearsal in [true, false] {
            let refused = restore(&file, &at.config, &under(1, &[]).await, rehearsal).await;
            let table = matches!(&refused, Err(BackupError::NotEmpty { table, .. }) if table == "users");
            assert!(table, "{:?}: {refused:?}", at.engine);
        }
        assert_eq!(Heap::of(&at.config).await, before);
    }

    /// Settings are written by whoever opens a database, and the backup brings its own.
    async fn a_database_that_was_only_opened_is_empty(at) {
        let folder = folder();
        let file = folder.path().join("backup.dump");
        let expected = dump_of_one_user(&file).await;
        at.store.ping().await.unwrap();
        at.store.lead(&at.tasks).await.unwrap();
        at.store.close().await;
        let vault = under(1, &[]).await;
        let rehearsed = restore(&file, &at.config, &vault, true).await.unwrap();
        assert_eq!(Heap::of(&at.config).await.filled(), [""; 0], "a rehearsal writes nothing");
        let restored = restore(&file, &at.config, &vault, false).await.unwrap();
        assert_eq!(rehearsed.contents, restored.contents);
        assert_eq!(Heap::of(&at.config).await, expected, "{:?}", at.engine);
        let store = at.open_again().await.unwrap();
        store.lead(&at.tasks).await.unwrap();
        assert!(store.users().for_login("ann").await.unwrap().is_some());
    }

    async fn another_master_key_is_told_the_one_that_is_needed(at) {
        let (source, folder) = (Fixture::open().await, folder());
        Filled::fill(&source.store).await;
        source.store.close().await;
        let file = folder.path().join("backup.dump");
        let written = dump(&source.config, &file, &source.clock).await.unwrap();
        at.store.close().await;
        let before = Heap::of(&at.config).await;
        let needed = under(1, &[]).await.ring().current();
        assert_eq!(written.keys, BTreeSet::from([needed.to_string()]));
        let refused = restore(&file, &at.config, &under(2, &[3]).await, false).await;
        let lost = matches!(&refused, Err(BackupError::KeyLost { needed: lost, .. }) if *lost == needed);
        assert!(lost && refused.unwrap_err().to_string().contains(&needed.to_string()), "{:?}", at.engine);
        assert_eq!(Heap::of(&at.config).await, before, "nothing was touched");
    }

    async fn a_restore_that_is_cut_off_leaves_an_empty_database(at) {
        let (source, folder) = (Fixture::open().await, folder());
        Filled::fill(&source.store).await;
        source.store.close().await;
        let file = folder.path().join("backup.dump");
        dump(&source.config, &file, &source.clock).await.unwrap();
        at.store.close().await;
        meddle(&at.config, true).await;
        let before = Heap::of(&at.config).await;
        let failed = restore(&file, &at.config, &under(1, &[]).await, false).await;
        let at_tokens = matches!(&failed, Err(BackupError::Table { table, .. }) if table == "whatsapp_tokens");
        assert!(at_tokens, "{:?}: {failed:?}", at.engine);
        let after = Heap::of(&at.config).await;
        assert_eq!(after.filled(), [""; 0], "{:?}", at.engine);
        let settings = |heap: &Heap| heap.0.get("settings").map(|(_, rows)| rows.clone());
        assert_eq!(settings(&after), settings(&before), "its own settings are still there");
        meddle(&at.config, false).await;
        restore(&file, &at.config, &under(1, &[]).await, false).await.unwrap();
        assert_eq!(Heap::of(&at.config).await, Heap::of(&source.config).await, "{:?}", at.engine);
    }

    /// A file is copied and a server dumped while somebody writes two values at once, again and again.
    async fn a_backup_is_of_one_moment_and_makes_nobody_wait(at) {
        let (filled, folder) = (Filled::fill(&at.store).await, folder());
        let (written, writing) = (Arc::new(AtomicU32::new(0)), Tasks::new());
        let (keys, counted, group) = (at.store.keys(filled.session.clone()), Arc::clone(&written), writing.clone());
        writing.spawn("writes", async move {
            while !group.is_stopping() {
                let round = (counted.load(Ordering::SeqCst) + 1).to_be_bytes();
                keys.put(&[(Kind::Session.key(b"one"), &round), (Kind::Session.key(b"other"), &round)]).await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        while written.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        for round in 0..3 {
            let (begun, place) = (written.load(Ordering::SeqCst), TempDir::new().unwrap());
            let file = folder.path().join(format!("backup.{round}"));
            if at.engine == On::Sqlite {
                at.store.copy_to(&file).await.unwrap();
            } else {
                dump(&at.config, &file, &at.clock).await.unwrap();
            }
            let ended = written.load(Ordering::SeqCst);
            assert!(ended > begun, "{:?}: nobody wrote meanwhile", at.engine);
            let target = On::Sqlite.database(&place).await;
            restore(&file, &target, &under(1, &[]).await, false).await.unwrap();
            let (store, _tasks) = open(&target, under(1, &[]).await).await;
            filled.check(&store).await;
            let keys = store.keys(filled.session.clone());
            let one = keys.get(Kind::Session.key(b"one")).await.unwrap().unwrap();
            assert_eq!(keys.get(Kind::Session.key(b"other")).await.unwrap().unwrap(), one, "{:?}", at.engine);
            let kept = u32::from_be_bytes(one.try_into().unwrap());
            assert!((begun..=ended + 1).contains(&kept), "{kept} between {begun} and {ended}");
            store.close().await;
        }
        assert_eq!(writing.stop(Duration::from_secs(10)).await, 0);
    }
}

/// A dump with one user, and what is in it.
async fn dump_of_one_user(to: &Path) -> Heap {
    let at = Fixture::open().await;
    at.store.users().add("ann", Role::User, "no hash", false).await.unwrap();
    at.store.close().await;
    dump(&at.config, to, &at.clock).await.unwrap();
    Heap::of(&at.config).await
}

/// Makes a table that comes late refuse its rows, as a disk would that is full; or lets it take them again.
async fn meddle(config: &DatabaseConfig, refuse: bool) {
    let opened = dialect::open(config).await.unwrap();
    let mut tx = match opened.tx {
        Some(tx) => tx,
        None => opened.source.connect().await.unwrap(),
    };
    let statement = match (config, refuse) {
        (DatabaseConfig::Sqlite { .. }, true) => {
            sql!("CREATE TRIGGER refused BEFORE INSERT ON whatsapp_tokens BEGIN SELECT RAISE(ABORT, 'full'); END")
        }
        (DatabaseConfig::Postgres(_), true) => sql!(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN RAISE EXCEPTION ''full''; END';
             CREATE TRIGGER refused BEFORE INSERT ON whatsapp_tokens FOR EACH ROW EXECUTE FUNCTION refuse()"
        ),
        (DatabaseConfig::MySql(_), true) => sql!(
            "CREATE TRIGGER refused BEFORE INSERT ON whatsapp_tokens FOR EACH ROW
                 SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'full'"
        ),
        (DatabaseConfig::Postgres(_), false) => sql!("DROP TRIGGER refused ON whatsapp_tokens"),
        (DatabaseConfig::Sqlite { .. } | DatabaseConfig::MySql(_), false) => sql!("DROP TRIGGER refused"),
    };
    tx.run(statement).await.unwrap();
    tx.close().await.unwrap();
    opened.readers.close().await;
}

/// A server's row about who leads stays, and a gateway that leads is not written under.
#[tokio::test]
async fn a_gateway_that_leads_keeps_a_restore_out() {
    for engine in On::servers() {
        let (at, folder) = (Fixture::on(engine).await, folder());
        let file = folder.path().join("backup.dump");
        dump_of_one_user(&file).await;
        at.store.lead(&at.tasks).await.unwrap();
        let refused = restore(&file, &at.config, &under(1, &[]).await, false).await;
        assert!(matches!(refused, Err(BackupError::Active(_))), "{engine:?}: {refused:?}");
        assert_eq!(Heap::of(&at.config).await.filled(), [""; 0], "{engine:?}");
        let own = folder.path().join("own.dump");
        let written = dump(&at.config, &own, &at.clock).await.unwrap();
        assert!(!written.tables.contains_key("leadership"), "{written:?}");
        at.store.close().await;
    }
}

#[tokio::test]
async fn what_is_no_whole_backup_of_this_wagate_is_refused() {
    let (at, folder) = (Fixture::open().await, folder());
    at.store.users().add("ann", Role::User, "no hash", false).await.unwrap();
    let (vault, target) = (under(1, &[]).await, On::Sqlite.database(&folder).await);
    let refuse = async |path: &Path| restore(path, &target, &vault, false).await.unwrap_err();

    let DatabaseConfig::Sqlite { path: live } = &at.config else { panic!("a fixture on a file") };
    let refused = refuse(live).await;
    assert!(refused.to_string().contains("a database in use"), "{refused}");

    let letter = folder.path().join("letter");
    std::fs::write(&letter, "Dear Ann, this is no backup. ".repeat(50)).unwrap();
    assert!(matches!(refuse(&letter).await, BackupError::Foreign(_)));
    assert!(matches!(refuse(&folder.path().join("nothing")).await, BackupError::File { .. }));

    let copy = folder.path().join("copy.db");
    at.store.copy_to(&copy).await.unwrap();
    let whole = std::fs::read(&copy).unwrap();
    let cut = folder.path().join("cut.db");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let refused = refuse(&cut).await;
    assert!(matches!(refused, BackupError::Store(_) | BackupError::Damaged { .. }), "{refused:?}");

    at.store.close().await;
    let written = folder.path().join("written.dump");
    dump(&at.config, &written, &at.clock).await.unwrap();
    let text = std::fs::read_to_string(&written).unwrap();
    let newer = folder.path().join("newer.dump");
    let schema = format!("\"schema\":{},", dialect::newest());
    assert!(text.contains(&schema));
    std::fs::write(&newer, text.replacen(&schema, "\"schema\":9999,", 1)).unwrap();
    assert!(matches!(refuse(&newer).await, BackupError::Newer { found: 9999, .. }));
    let DatabaseConfig::Sqlite { path } = &target else { panic!("a target on a file") };
    assert!(!path.exists(), "nothing was made");
}

/// Values under an old key open as long as that key is at hand, and are restored as they are.
#[tokio::test]
async fn a_dump_from_within_a_rotation_needs_both_keys() {
    let (at, folder) = (Fixture::open().await, folder());
    let filled = Filled::fill(&at.store).await;
    at.store.close().await;
    let store = at.open_under(under(2, &[1]).await).await.unwrap();
    let keys = store.keys("ses_shop".parse::<SessionId>().unwrap());
    keys.put(&[(Kind::Device.key(b""), b"device")]).await.unwrap();
    store.close().await;
    let file = folder.path().join("backup.dump");
    let written = dump(&at.config, &file, &at.clock).await.unwrap();
    assert_eq!(written.keys.len(), 2, "{written:?}");
    let target = On::Sqlite.database(&folder).await;
    for (seed, lacks) in [(1, 2), (2, 1)] {
        let refused = restore(&file, &target, &under(seed, &[]).await, false).await;
        let lacks = under(lacks, &[]).await.ring().current();
        assert!(matches!(refused, Err(BackupError::KeyLost { needed, .. }) if needed == lacks), "{seed}");
    }
    restore(&file, &target, &under(2, &[1]).await, false).await.unwrap();
    let (store, _tasks) = open(&target, under(2, &[1]).await).await;
    filled.check(&store).await;
    store.close().await;
}

/// On SQLite, at migration 4, where a name that a plugin chose was text.
const OF_OLD: Sql = sql!(
    "INSERT INTO users (id, username, username_key, role, password_hash, token_version, must_change_password, created_at)
        VALUES (7, 'ann', 'ann', 'user', 'no hash', 1, FALSE, 1);
    INSERT INTO plugins (seq, id, owner, name, current, enabled, created_at)
        VALUES (1, 'plg_a', 7, 'router', 1, TRUE, 1);
    INSERT INTO plugin_values (plugin_id, name, value, expires_at) VALUES ('plg_a', 'counter', x'00ff', NULL)"
);

/// Migrations do to the rows of an older backup what they would have done at home, on whichever engine.
#[tokio::test]
async fn a_dump_of_an_older_schema_is_brought_to_the_newest_on_every_engine() {
    let folder = folder();
    let old = DatabaseConfig::Sqlite { path: folder.path().join("old.db") };
    let opened = dialect::open_at(&old, Some(4)).await.unwrap();
    opened.readers.close().await;
    let mut tx = opened.tx.unwrap();
    tx.run(OF_OLD).await.unwrap();
    tx.close().await.unwrap();
    drop(opened.source);
    let (file, vault) = (folder.path().join("old.dump"), under(1, &[]).await);
    assert_eq!(dump(&old, &file, &Clock::System).await.unwrap().schema, 4);
    for engine in On::all() {
        let newest = Fixture::on(engine).await;
        newest.store.close().await;
        for rehearsal in [true, false] {
            let refused = restore(&file, &newest.config, &vault, rehearsal).await;
            assert!(matches!(refused, Err(BackupError::Ahead { backup: 4, .. })), "{engine:?}: {refused:?}");
        }
        let away = TempDir::new().unwrap();
        let target = engine.database(&away).await;
        restore(&file, &target, &vault, false).await.unwrap();
        assert!(Store::migrations(&target).await.unwrap().iter().all(|migration| migration.applied), "{engine:?}");
        let heap = Heap::of(&target).await;
        assert_eq!(heap.0["users"].1[0][0], rows::Value::Integer(7), "{engine:?}");
        let expected = [b"counter".to_vec(), vec![0, 255]].map(rows::Value::Bytes);
        assert_eq!(heap.0["plugin_values"].1[0][1..3], expected, "{engine:?}");
    }
}

/// A copied file takes the place of an empty database, and of nothing else; nobody else can read it there.
#[tokio::test]
async fn a_copied_file_replaces_no_file_of_another_program() {
    let (at, folder, vault) = (Fixture::open().await, folder(), under(1, &[]).await);
    let copy = folder.path().join("copy.db");
    at.store.copy_to(&copy).await.unwrap();
    at.store.close().await;
    std::fs::set_permissions(&copy, Permissions::from_mode(0o644)).unwrap();
    let path = folder.path().join("new.db");
    let target = DatabaseConfig::Sqlite { path: path.clone() };
    std::fs::write(&path, "").unwrap();
    {
        let mut visit = dialect::visit(&target).await.unwrap();
        visit.tx.run(sql!("CREATE TABLE theirs (a TEXT)")).await.unwrap();
        visit.tx.close().await.unwrap();
    }
    let theirs = std::fs::read(&path).unwrap();
    for file in [theirs, b"a letter, and no database at all\n".repeat(40)] {
        std::fs::write(&path, &file).unwrap();
        for rehearsal in [true, false] {
            let refused = restore(&copy, &target, &vault, rehearsal).await;
            assert!(matches!(refused, Err(BackupError::Store(StoreError::Damaged { .. }))), "{refused:?}");
        }
        assert!(std::fs::read(&path).unwrap() == file, "it was touched");
    }
    std::fs::write(&path, "").unwrap();
    restore(&copy, &target, &vault, false).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
