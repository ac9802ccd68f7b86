//! One plugin's values during one passage: what it has read, and what its calls wrote over it.
//!
//! Pure. Writes of the call under way lie above those of the calls that went well; a call that fails takes its own away.
//!
//! Invariant: a write that relied on a stored value carries that value, however often the key is written after it.

use std::collections::{BTreeMap, HashMap};

use super::is_over;
use crate::model::{KeyWrite, Millis, PluginId, Stored};

/// Stored values remembered in a passage.
const REMEMBERED: usize = 1_000;
/// Keys a passage may write, those taken away included.
const WRITTEN: usize = 2_000;

/// The values of one plugin as one passage sees them.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Keyspace {
    stored: HashMap<String, Option<Vec<u8>>>,
    kept: BTreeMap<String, Entry>,
    fresh: BTreeMap<String, Entry>,
    usage: Option<(u64, u64)>,
    /// Keys and bytes that all writes add, and those of the calls that went well. What the store holds under a key that
    /// is written is not read any more, so what a write adds stays the same.
    added: (i64, i64),
    added_by_kept: (i64, i64),
}

/// What a key holds; `None` for nothing.
type Seen<'a> = Option<&'a [u8]>;

/// A write as the capability asks for it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) value: Option<Vec<u8>>,
    pub(super) expires_at: Option<Millis>,
    /// What the key held when the write was decided, when that mattered.
    pub(super) relied: Option<Stored>,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Option<Vec<u8>>,
    expires_at: Option<Millis>,
    expected: Option<Stored>,
}

impl Keyspace {
    /// What the key holds, as far as it is known here.
    pub(super) fn look(&self, key: &str, now: Millis) -> Option<Seen<'_>> {
        if let Some(entry) = self.written(key) {
            return Some(entry.value.as_deref().filter(|_| !is_over(entry.expires_at, now)));
        }
        self.stored.get(key).map(Option::as_deref)
    }

    /// What the store holds.
    pub(super) fn remember(&mut self, key: &str, value: Option<&[u8]>) {
        if self.stored.len() < REMEMBERED {
            self.stored.insert(key.to_owned(), value.map(<[u8]>::to_vec));
        }
    }

    /// Notes a write of the call under way.
    pub(super) fn write(&mut self, key: String, written: Written) {
        let Written { value, expires_at, relied } = written;
        // What was written before in this passage was relied on only as far as that write relied on the store.
        let expected = match self.written(&key) {
            Some(earlier) => earlier.expected.clone(),
            None => relied,
        };
        self.added = self.grown(&key, value.as_ref().map(Vec::len));
        self.fresh.insert(key, Entry { value, expires_at, expected });
    }

    /// Whether nothing was read or written.
    pub(in crate::plugin) fn is_untouched(&self) -> bool {
        self.stored.is_empty() && self.kept.is_empty() && self.fresh.is_empty()
    }

    /// Whether the passage has written as many keys as it may.
    pub(super) fn is_full(&self) -> bool {
        self.fresh.len() + self.kept.len() >= WRITTEN
    }

    /// The call went well.
    pub(in crate::plugin) fn keep(&mut self) {
        self.kept.append(&mut self.fresh);
        self.added_by_kept = self.added;
    }

    /// The call failed.
    pub(in crate::plugin) fn discard(&mut self) {
        self.fresh.clear();
        self.added = self.added_by_kept;
    }

    /// The writes of the calls that went well.
    pub(in crate::plugin) fn into_writes(self, plugin: &PluginId) -> impl Iterator<Item = KeyWrite> {
        self.kept.into_iter().map(|(key, Entry { value, expires_at, expected })| KeyWrite {
            plugin: plugin.clone(),
            key,
            value,
            expires_at,
            expected,
        })
    }

    /// Keys and bytes the plugin keeps, when they were asked for.
    pub(super) fn usage(&self) -> Option<(u64, u64)> {
        self.usage
    }

    pub(super) fn set_usage(&mut self, usage: (u64, u64)) {
        self.usage = Some(usage);
    }

    /// Whether it is not known what the store holds under the key.
    pub(super) fn is_unknown(&self, key: &str) -> bool {
        !self.stored.contains_key(key)
    }

    /// Keys and bytes that this passage would add with one more value; what it takes away is not counted, and a key
    /// whose stored value is unknown counts as new.
    pub(super) fn growth(&self, key: &str, value: usize) -> (i64, i64) {
        self.grown(key, Some(value))
    }

    /// What all writes add once the key holds so many bytes, or nothing.
    fn grown(&self, key: &str, value: Option<usize>) -> (i64, i64) {
        let stored = self.stored.get(key).and_then(Option::as_ref).map(Vec::len);
        let adds = |value: Option<usize>| match (value, stored) {
            (None, _) => (0, 0),
            (Some(size), Some(old)) => (0, size_of_entry(key, size) - size_of_entry(key, old)),
            (Some(size), None) => (1, size_of_entry(key, size)),
        };
        let present = self.written(key).and_then(|entry| entry.value.as_ref()).map(Vec::len);
        let ((keys, bytes), (old_keys, old_bytes)) = (adds(value), adds(present));
        (self.added.0 + keys - old_keys, self.added.1 + bytes - old_bytes)
    }

    fn written(&self, key: &str) -> Option<&Entry> {
        self.fresh.get(key).or_else(|| self.kept.get(key))
    }
}

fn size_of_entry(key: &str, value: usize) -> i64 {
    i64::try_from(key.len() + value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_000);

    /// Writes, relying on this stored text where there is one.
    fn set(keys: &mut Keyspace, key: &str, value: &str, relied: Option<&str>) {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let relied = relied.map(|relied| Some(bytes(relied)));
        keys.write(key.to_owned(), Written { value: Some(bytes(value)), expires_at: None, relied });
    }

    fn writes(keys: Keyspace) -> Vec<KeyWrite> {
        keys.into_writes(&PluginId::new()).collect()
    }

    #[test]
    fn later_calls_see_what_earlier_ones_wrote() {
        let mut keys = Keyspace::default();
        assert_eq!(keys.look("a", NOW), None);
        set(&mut keys, "a", "1", None);
        keys.keep();
        assert_eq!(keys.look("a", NOW), Some(Some(&b"1"[..])));
        keys.write("a".to_owned(), Written { value: None, expires_at: None, relied: None });
        assert_eq!(keys.look("a", NOW), Some(None));
    }

    #[test]
    fn a_failed_call_has_written_nothing() {
        let mut keys = Keyspace::default();
        set(&mut keys, "a", "1", None);
        keys.keep();
        set(&mut keys, "a", "2", None);
        set(&mut keys, "b", "2", None);
        keys.discard();
        assert_eq!((keys.look("a", NOW), keys.look("b", NOW)), (Some(Some(&b"1"[..])), None));
        assert_eq!(writes(keys).len(), 1);
    }

    #[test]
    fn what_was_relied_on_first_stays() {
        let mut keys = Keyspace::default();
        set(&mut keys, "counter", "6", Some("5"));
        set(&mut keys, "counter", "7", Some("6"));
        set(&mut keys, "own", "1", None);
        set(&mut keys, "own", "2", Some("1"));
        keys.keep();
        let expected: Vec<_> = writes(keys).into_iter().map(|write| write.expected).collect();
        assert_eq!(expected, [Some(Some(b"5".to_vec())), None]);
    }

    #[test]
    fn a_value_ends_with_its_time() {
        let mut keys = Keyspace::default();
        let written = Written { value: Some(vec![1]), expires_at: Some(NOW), relied: None };
        keys.write("a".to_owned(), written);
        assert_eq!(keys.look("a", Millis(999)), Some(Some(&[1][..])));
        assert_eq!(keys.look("a", NOW), Some(None));
    }

    #[test]
    fn growth_counts_what_is_new() {
        let mut keys = Keyspace::default();
        assert_eq!(keys.growth("ab", 3), (1, 5));
        keys.remember("ab", Some(b"1234"));
        assert_eq!(keys.growth("ab", 3), (0, -1));
        set(&mut keys, "c", "x", None);
        keys.keep();
        set(&mut keys, "c", "xyz", None);
        assert_eq!(keys.growth("d", 1), (2, 6));
        set(&mut keys, "ab", "1234567", None);
        assert_eq!(keys.growth("d", 1), (2, 9), "3 bytes more than are stored");
        keys.discard();
        assert_eq!(keys.growth("d", 1), (2, 4));
        keys.write("c".to_owned(), Written { value: None, expires_at: None, relied: None });
        assert_eq!(keys.growth("d", 1), (1, 2));
    }

    #[test]
    fn keys_of_earlier_calls_and_keys_taken_away_count() {
        let mut keys = Keyspace::default();
        for n in 0..WRITTEN {
            assert!(!keys.is_full(), "{n}");
            keys.write(n.to_string(), Written { value: None, expires_at: None, relied: None });
            keys.keep();
        }
        assert!(keys.is_full());
    }
}
