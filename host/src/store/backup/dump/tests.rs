use tempfile::TempDir;

use super::super::{Glance, dump};
use super::*;
use crate::model::{Role, Scope};
use crate::store::tests::Fixture;

/// A dump of two users and a session, as its lines.
async fn lines() -> Vec<String> {
    let at = Fixture::open().await;
    let owner = at.store.users().add("ann", Role::User, "no hash", false).await.unwrap().id;
    at.store.users().add("naïve 🦀 \"\\", Role::Admin, "no hash", true).await.unwrap();
    let url = "https://example.org/hook".parse().unwrap();
    at.store.sessions(Scope::of(owner)).create(owner, "ses_a".parse().unwrap(), "A", Some(&url)).await.unwrap();
    at.store.close().await;
    let file = at.directory.path().join("backup.dump");
    dump(&at.config, &file, &at.clock).await.unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

async fn judge(content: impl AsRef<[u8]>) -> Result<Contents, BackupError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("backup.dump");
    std::fs::write(&path, content).unwrap();
    Reader::open(&path).await?.pour(&mut Glance).await
}

/// The lines with a checksum that fits, in place of the one at their end.
fn sealed(lines: &[String]) -> String {
    let (_, above) = lines.split_last().unwrap();
    let above = above.concat();
    format!("{above}{{\"sha256\":\"{}\"}}\n", hex(&Sha256::digest(&above)))
}

/// Where the line that begins like this stands.
fn at(lines: &[String], head: &str) -> usize {
    lines.iter().position(|line| line.starts_with(head)).unwrap()
}

#[tokio::test]
async fn a_dump_says_what_it_is_and_what_is_in_it() {
    let lines = lines().await;
    assert!(lines[0].as_bytes().starts_with(MAGIC));
    let contents = judge(lines.concat()).await.unwrap();
    assert_eq!((contents.schema, contents.tables["users"], contents.tables["sessions"]), (dialect::newest(), 2, 1));
    assert_eq!(contents.tables["events"], 0);
    assert_eq!(contents.keys.len(), 1);
    assert_eq!(judge(sealed(&lines)).await.unwrap(), contents, "the tests below make sound checksums");
}

#[tokio::test]
async fn one_changed_byte_anywhere_is_noticed() {
    let whole = lines().await.concat().into_bytes();
    // A start every so often, which meets every kind of line, and the whole of the checksum.
    let places = (0..whole.len()).step_by(37).chain(whole.len() - 80..whole.len());
    for place in places {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        assert!(judge(&changed).await.is_err(), "byte {place}: {}", String::from_utf8_lossy(&changed));
    }
}

#[tokio::test]
async fn one_that_is_cut_off_at_any_line_is_noticed() {
    let lines = lines().await;
    for kept in 0..lines.len() {
        let mut cut = lines[..kept].concat().into_bytes();
        assert!(judge(&cut).await.is_err(), "{kept} lines");
        cut.extend_from_slice(&lines[kept].as_bytes()[..lines[kept].len() / 2]);
        assert!(judge(&cut).await.is_err(), "{kept} lines and a half");
    }
    let whole = lines.concat();
    assert!(judge(whole.trim_end()).await.is_err(), "without its last line end");
}

#[tokio::test]
async fn a_line_more_and_a_longer_line_are_noticed() {
    let lines = lines().await;
    for place in 0..lines.len() {
        let mut more = lines.clone();
        more.insert(place, lines[place].clone());
        assert!(judge(more.concat()).await.is_err(), "line {place} twice");
        let mut longer = lines.clone();
        let end = longer[place].len() - 1;
        longer[place].insert(end, ' ');
        assert!(judge(longer.concat()).await.is_err(), "line {place} with a blank");
    }
    for added in ["\n", "x", "[]\n", "{\"end\":{},\"keys\":[]}\n"] {
        assert!(judge(lines.concat() + added).await.is_err(), "{added:?} behind the end");
    }
}

/// The checksum alone does not make a dump a whole one.
#[tokio::test]
async fn what_does_not_fit_is_refused_under_a_sound_checksum_too() {
    let sound = lines().await;
    let refused = async |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = sound.clone();
        change(&mut lines);
        let refused = judge(sealed(&lines)).await;
        assert!(matches!(refused, Err(BackupError::Damaged { .. })), "{refused:?}");
        refused.unwrap_err().to_string()
    };
    let users = at(&sound, "{\"table\":\"users\"");
    let told = refused(&|lines| drop(lines.remove(users + 1))).await;
    assert!(told.contains("rows are missing"), "{told}");
    refused(&|lines| lines.insert(users + 1, lines[users + 1].clone())).await;
    refused(&|lines| lines[users + 1] = lines[users + 1].replacen('[', "[null,", 1)).await;
    refused(&|lines| lines[users + 1] = lines[users + 1].replacen("[1,", "[\"1\",", 1)).await;
    refused(&|lines| lines[users + 1] = lines[users + 1].replacen("[1,", "[1.5,", 1)).await;
    refused(&|lines| lines[users] = lines[users].replacen("\"username\"", "\"nickname\"", 1)).await;
    refused(&|lines| lines[users] = lines[users].replacen("\"users\"", "\"losers\"", 1)).await;
    refused(&|lines| lines[users] = lines[users].replacen(",\"next\":3", "", 1)).await;
    refused(&|lines| lines.insert(1, "[1]\n".to_owned())).await;
    refused(&|lines| lines.insert(users, "\n".to_owned())).await;
    // A whole table, with its row in the count at the end or without.
    let events = at(&sound, "{\"table\":\"events\"");
    refused(&|lines| drop(lines.remove(events))).await;
    refused(&|lines| {
        lines.remove(events);
        let end = at(lines, "{\"end\":");
        lines[end] = lines[end].replacen("\"events\":0,", "", 1);
    })
    .await;
    refused(&|lines| lines.insert(lines.len() - 1, lines[users].clone())).await;
    let told = refused(&|lines| lines[0] = lines[0].replacen("\"version\":1", "\"version\":2", 1)).await;
    assert!(told.contains("does not know its format"), "{told}");
}

#[test]
fn every_value_comes_back_as_it_was() {
    use Kind::{Bytes, Flag, Integer, Text};
    let kinds = [Integer, Integer, Flag, Text, Text, Bytes, Bytes, Bytes];
    let columns: Vec<Column> = kinds.iter().map(|kind| Column { name: "a".to_owned(), kind: *kind }).collect();
    let row = vec![
        Value::Integer(i64::MIN),
        Value::Integer(i64::MAX),
        Value::Flag(true),
        Value::Text("nul \0 line\nend 🦀 \u{2028} \" \\".to_owned()),
        Value::Text(String::new()),
        Value::Bytes((0..=255).cycle().take(65_536).collect()),
        Value::Bytes(Vec::new()),
        Value::Null,
    ];
    let mut line = Vec::new();
    encode(&mut line, &row).unwrap();
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "a row is a line");
    let values: Vec<Json> = serde_json::from_slice(&line).unwrap();
    assert_eq!(decode(values.clone(), &columns), Some(row));
    assert_eq!(decode(values, &columns[1..]), None);
    assert_eq!(decode(vec![Json::String("no base64!".to_owned())], &columns[5..6]), None);
    assert_eq!(decode(vec![Json::from(u64::MAX)], &columns[..1]), None);
}
